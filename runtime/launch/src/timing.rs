//! Timing by events, with a warm-up by the clock and an optional flush of the L2 cache.
//!
//! GPU clocks follow the load: a short burst after a light kernel reads up to a tenth too fast. Warm up for some 50 ms
//! with the launch that is timed, and take the median of many samples.

use std::time::{Duration, Instant};

use cudarc::driver::sys::CUevent;

use crate::buffer::DeviceBuffer;
use crate::device::Device;
use crate::error::{DeviceError, LaunchError};
use crate::stream::Stream;

/// How to time.
#[derive(Clone, Debug, PartialEq)]
pub struct TimingOptions {
    /// Least time of launches ahead of the first sample, in milliseconds.
    pub warmup_ms: f64,
    /// Number of samples.
    pub reps: usize,
    /// Launches in one sample, which is divided by it: more than 1 hides the 2 microseconds of an event.
    pub launches_per_rep: usize,
}

impl Default for TimingOptions {
    fn default() -> TimingOptions {
        TimingOptions {
            warmup_ms: 50.0,
            reps: 50,
            launches_per_rep: 1,
        }
    }
}

/// Times of one launch, in microseconds.
#[derive(Clone, Debug, PartialEq)]
pub struct Timing {
    /// One for each sample, in the order of measurement; never empty.
    pub samples_us: Vec<f64>,
}

impl Timing {
    /// The median.
    pub fn median_us(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The sample that the share `q` of all samples does not exceed; even counts interpolate.
    pub fn quantile(&self, q: f64) -> f64 {
        let mut sorted = self.samples_us.clone();
        sorted.sort_by(f64::total_cmp);
        let at = q.clamp(0.0, 1.0) * sorted.len().saturating_sub(1) as f64;
        let (low, high) = (sorted.get(at.floor() as usize), sorted.get(at.ceil() as usize));
        match (low, high) {
            (Some(low), Some(high)) => low + (high - low) * at.fract(),
            _ => f64::NAN,
        }
    }

    /// The fastest sample.
    pub fn min_us(&self) -> f64 {
        self.quantile(0.0)
    }

    /// The slowest sample.
    pub fn max_us(&self) -> f64 {
        self.quantile(1.0)
    }
}

/// A buffer of twice the L2 cache. Writing it evicts what the last launch left there.
pub struct L2Flush {
    buffer: DeviceBuffer,
}

impl L2Flush {
    /// Allocates the buffer.
    pub fn new(device: &Device) -> Result<L2Flush, DeviceError> {
        Ok(L2Flush {
            buffer: DeviceBuffer::alloc(device, device.facts().l2_bytes.max(1 << 20) * 2)?,
        })
    }

    /// Queues the flush.
    pub fn flush(&self, stream: &Stream) -> Result<(), DeviceError> {
        self.buffer.fill(stream, 0)
    }
}

/// Times `launch`, which queues its work on `stream`. With `flush`, every launch starts with a cold L2; the flush is not
/// timed, and a sample is one launch.
pub fn time(
    stream: &Stream,
    options: &TimingOptions,
    flush: Option<&L2Flush>,
    mut launch: impl FnMut() -> Result<(), LaunchError>,
) -> Result<Timing, LaunchError> {
    let launches = if flush.is_some() { 1 } else { options.launches_per_rep };
    if options.reps == 0 || launches == 0 {
        return Err(LaunchError::Timing("no samples are asked for"));
    }
    let start = Instant::now();
    let warmup = Duration::try_from_secs_f64(options.warmup_ms / 1e3).unwrap_or_default();
    loop {
        launch()?;
        stream.synchronize()?;
        if start.elapsed() >= warmup {
            break;
        }
    }
    let events: Result<Vec<_>, DeviceError> = (0..options.reps)
        .map(|_| Ok((Event::new(stream.device())?, Event::new(stream.device())?)))
        .collect();
    let events = events?;
    for (before, after) in &events {
        if let Some(flush) = flush {
            flush.flush(stream)?;
        }
        before.record(stream)?;
        for _ in 0..launches {
            launch()?;
        }
        after.record(stream)?;
    }
    stream.synchronize()?;
    let sample = |(before, after): &(Event, Event)| Ok(before.elapsed_us(after)? / launches as f64);
    Ok(Timing {
        samples_us: events.iter().map(sample).collect::<Result<_, DeviceError>>()?,
    })
}

struct Event {
    device: Device,
    raw: CUevent,
}

impl Event {
    fn new(device: &Device) -> Result<Event, DeviceError> {
        let api = device.bind()?;
        let mut raw: CUevent = std::ptr::null_mut();
        // SAFETY: writes one handle, which is destroyed once, in `drop`.
        api.check("cuEventCreate", unsafe { (api.event_create)(&mut raw, 0) })?;
        Ok(Event {
            device: device.clone(),
            raw,
        })
    }

    fn record(&self, stream: &Stream) -> Result<(), DeviceError> {
        let api = self.device.bind()?;
        // SAFETY: both handles are valid and of one device.
        api.check("cuEventRecord", unsafe { (api.event_record)(self.raw, stream.raw()) })
    }

    /// Microseconds from `self` to `end`, both recorded and over.
    fn elapsed_us(&self, end: &Event) -> Result<f64, DeviceError> {
        let api = self.device.bind()?;
        let mut ms = 0f32;
        // SAFETY: writes one float; both handles are valid.
        api.check("cuEventElapsedTime", unsafe {
            (api.event_elapsed)(&mut ms, self.raw, end.raw)
        })?;
        Ok(f64::from(ms) * 1e3)
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if let Ok(api) = self.device.bind() {
            // SAFETY: the only destruction.
            let _ = unsafe { (api.event_destroy)(self.raw) };
        }
    }
}
