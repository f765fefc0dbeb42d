use std::{io, path::Path};

/// Files of the machine, anywhere: those of services lie in the supervisor's folders, outside of the state directory.
pub trait Files: Send + Sync {
    /// The whole text of a plain file of reasonable size.
    ///
    /// # Errors
    /// `NotFound`; anything that is no such file.
    fn read(&self, path: &Path) -> io::Result<String>;
    /// Replaces the file at once or not at all; folders that are missing are made.
    ///
    /// # Errors
    /// When the disk refuses; the old file is then still whole.
    fn write(&self, path: &Path, text: &str, mode: u32) -> io::Result<()>;
    /// Removes the file, a link and not what it leads to.
    ///
    /// # Errors
    /// `NotFound`, or when the disk refuses.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Names in a folder, sorted, a bounded number; none when there is no such folder.
    ///
    /// # Errors
    /// When it cannot be read.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;
    /// The permission bits of a file or folder; `None` when there is none.
    fn mode(&self, path: &Path) -> Option<u32>;
}
