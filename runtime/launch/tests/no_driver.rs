//! What a machine without an NVIDIA driver must see: an error with a name. With a driver the tests of this file say so
//! and check the other side of the same promise.

use einloom_runtime::{Device, DeviceBuffer, DeviceError, L2Flush, Module, PreparedLaunch, Stream};

#[test]
fn handles_cross_threads() {
    fn crosses<T: Send + Sync>() {}
    crosses::<Device>();
    crosses::<DeviceBuffer>();
    crosses::<L2Flush>();
    crosses::<Module>();
    crosses::<PreparedLaunch>();
    crosses::<Stream>();
}

#[test]
fn opening_a_device_never_panics() {
    match Device::open(0) {
        Err(DeviceError::NoDriver) => {
            assert_eq!(
                DeviceError::NoDriver.to_string(),
                "no NVIDIA driver on this machine: libcuda.so.1 cannot be loaded"
            );
            // The answer stays, and stays an error.
            assert_eq!(Device::open(7).map(|_| ()), Err(DeviceError::NoDriver));
            assert_eq!(Device::count(), Err(DeviceError::NoDriver));
        }
        Err(DeviceError::NoDevice { ordinal, count }) => assert_eq!((ordinal, count), (0, 0)),
        Err(other) => panic!("neither a device nor a named reason: {other}"),
        Ok(device) => assert!(device.facts().multiprocessors > 0),
    }
}

#[test]
fn an_ordinal_past_the_last_device_is_refused() {
    match Device::count() {
        Ok(count) => {
            for ordinal in [count, count + 1, usize::MAX] {
                assert_eq!(
                    Device::open(ordinal).map(|_| ()),
                    Err(DeviceError::NoDevice { ordinal, count })
                );
            }
        }
        Err(error) => assert_eq!(error, DeviceError::NoDriver),
    }
}
