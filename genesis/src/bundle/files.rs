//! Collecting the files of a bundle.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::Path;

use include_dir::Dir;

use super::error::BundleError;

/// The largest file that is read, in bytes.
pub const MAX_FILE_BYTES: u64 = 256 * 1024;
/// The most files that are read.
pub const MAX_FILES: usize = 2_000;
/// Folders within folders.
const MAX_DEPTH: usize = 4;

type Files = BTreeMap<String, Cow<'static, [u8]>>;

pub(super) fn of_embedded(dir: &'static Dir<'static>, prefix: &str, files: &mut Files) {
    for file in dir.files() {
        let path = format!("{prefix}/{}", file.path().display());
        files.insert(path, Cow::Borrowed(file.contents()));
    }
    for inner in dir.dirs() {
        of_embedded(inner, prefix, files);
    }
}

/// Reads a folder below `root`; a folder that does not exist holds nothing.
pub(super) fn of_directory(
    root: &Path,
    folder: &str,
    files: &mut Files,
) -> Result<(), BundleError> {
    let path = root.join(folder);
    if !path.try_exists().map_err(|source| BundleError::Io { path: path.clone(), source })? {
        return Ok(());
    }
    walk(&path, folder, 0, files)
}

fn walk(dir: &Path, prefix: &str, depth: usize, files: &mut Files) -> Result<(), BundleError> {
    let io = |path: &Path| {
        let path = path.to_owned();
        move |source| BundleError::Io { path, source }
    };
    if depth > MAX_DEPTH {
        return Err(limit(prefix, format!("more than {MAX_DEPTH} folders within folders")));
    }
    for entry in fs::read_dir(dir).map_err(io(dir))? {
        let entry = entry.map_err(io(dir))?;
        let path = entry.path();
        let name = format!("{prefix}/{}", entry.file_name().to_string_lossy());
        // Follows symbolic links; MAX_DEPTH ends a circle of them.
        let about = fs::metadata(&path).map_err(io(&path))?;
        if about.is_dir() {
            walk(&path, &name, depth + 1, files)?;
        } else if about.is_file() {
            if files.len() >= MAX_FILES {
                return Err(limit(&name, format!("there are more than {MAX_FILES} files")));
            }
            let mut bytes = Vec::new();
            let file = fs::File::open(&path).map_err(io(&path))?;
            file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(io(&path))?;
            if bytes.len() as u64 > MAX_FILE_BYTES {
                return Err(limit(&name, format!("has more than {MAX_FILE_BYTES} bytes")));
            }
            files.insert(name, Cow::Owned(bytes));
        } else {
            return Err(limit(&name, "is neither a file nor a folder".into()));
        }
    }
    Ok(())
}

fn limit(path: &str, reason: String) -> BundleError {
    BundleError::Limit { path: path.to_owned(), reason }
}
