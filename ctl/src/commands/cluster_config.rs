//! Users and configuration of a cluster's nodes, written into a folder.
//!
//! Nothing that is there is replaced: the files hold passwords, and an older `users.acl` may be the only one
//! that the nodes still agree with.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use service::config::Secret;

use super::{Context, change};
use crate::cluster_config::files;
use crate::exit::{Code, Failure};

/// Of a folder with passwords.
const FOLDER_MODE: u32 = 0o700;
/// Of a file with passwords.
const FILE_MODE: u32 = 0o600;
/// The name by which nodes find their users.
const USERS_FILE: &str = "users.acl";

pub(super) fn cluster_config(context: Context<'_>) -> Result<Code, Failure> {
    let bytes = change::read(context.text("file").unwrap_or("-"))?;
    let folder = Path::new(context.text("folder").unwrap_or("."));
    let made = DirBuilder::new().mode(FOLDER_MODE).recursive(true).create(folder);
    let folder = made.and_then(|()| folder.canonicalize()).map_err(|error| {
        Failure::new(Code::Failed, format!("the folder {} cannot be made: {error}", folder.display()))
    })?;
    let installed = context.text("installed-in").map_or_else(|| folder.clone(), PathBuf::from);
    let acl_path = installed.join(USERS_FILE);
    let files = files(&bytes, &acl_path.to_string_lossy(), Secret::from_file)
        .map_err(|mistakes| Failure::usage(mistakes.join("\ndictatorctl: ")))?;
    let texts = [
        (USERS_FILE, &files.users_acl),
        ("redis.conf", &files.redis_conf),
        ("dictator-password", &files.dictator_password),
    ];
    for (name, _) in texts {
        if folder.join(name).exists() {
            return Err(exists(&folder.join(name)));
        }
    }
    for (name, text) in texts {
        write(&folder.join(name), text)?;
    }
    context.output.print(&format!(
        "{0}/users.acl and {0}/redis.conf: for every node, in {1}; readable by the node alone\n\
         {0}/dictator-password: for the dictator, with --redis-username {2} and --redis-password-file\n",
        folder.display(),
        installed.display(),
        files.dictator_name
    ))?;
    Ok(Code::Done)
}

/// A new file, readable by its owner alone from its first byte on.
fn write(path: &Path, text: &str) -> Result<(), Failure> {
    let opened = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(path);
    let written = opened.and_then(|mut file: File| {
        file.write_all(text.as_bytes())?;
        file.sync_all()
    });
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => exists(path),
        _ => Failure::new(Code::Failed, format!("{} cannot be written: {error}", path.display())),
    })
}

fn exists(path: &Path) -> Failure {
    Failure::new(
        Code::Failed,
        format!(
            "{} is there already and is not replaced; remove it, or name another --folder",
            path.display()
        ),
    )
}
