//! One measurement at a time on a device: a lock file that all tuners on a machine share.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

/// A device's lock file.
#[derive(Debug)]
pub struct DeviceLock {
    file: File,
}

/// Held until it is dropped.
#[derive(Debug)]
pub struct Held<'a> {
    file: &'a File,
}

impl DeviceLock {
    /// The lock of a device in the machine's folder for temporary files. `device` is any text that names the physical device.
    ///
    /// # Errors
    /// The system's: for instance, the file belongs to someone else.
    pub fn open(device: &str) -> io::Result<DeviceLock> {
        DeviceLock::at(&DeviceLock::path(device))
    }

    /// Where the lock file of a device lies.
    pub fn path(device: &str) -> PathBuf {
        let clean: String = device
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        std::env::temp_dir().join(format!("einloom-device-{clean}.lock"))
    }

    /// A lock file at a path.
    ///
    /// # Errors
    /// The system's.
    pub fn at(path: &Path) -> io::Result<DeviceLock> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
        Ok(DeviceLock { file })
    }

    /// Waits until nobody else measures.
    ///
    /// # Errors
    /// The system's.
    pub fn hold(&self) -> io::Result<Held<'_>> {
        self.file.lock()?;
        Ok(Held { file: &self.file })
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // The lock also ends with the process.
        let _ = self.file.unlock();
    }
}
