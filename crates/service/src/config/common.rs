//! The settings that every daemon has, judged together: where it listens, and who is let in there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::command::state_dir_default;
use super::value::HttpListen;
use super::{Common, Reader};
use crate::access::Access;
use crate::auth::Tokens;
use crate::files::FromFiles;

/// Where systemd says a service may keep state (systemd.exec(5), StateDirectory=).
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";
/// The systemd credential with the tokens, if no file is named.
const TOKENS_CREDENTIAL: &str = "tokens";

impl Reader {
    /// The settings that every daemon has; `None` if one of them is wrong.
    pub fn common(&mut self) -> Option<Common> {
        let listen = self.take::<HttpListen>("listen").map(|listen| listen.0);
        let insecure_no_auth = self.take_switch("insecure-no-auth");
        let access = self.access();
        if let (Some(listen), Some(access)) = (listen, &access) {
            self.check_reach(listen, access, insecure_no_auth);
        }
        let allow_hosts = self.take_list("allow-host");
        let state_dir = self.state_dir();
        let log = self.take("log");
        let log_format = self.take("log-format");
        Some(Common {
            listen: listen?,
            insecure_no_auth,
            access: access?,
            files: self.files(),
            allow_hosts,
            state_dir,
            log_format: log_format?,
            log: log?,
        })
    }

    /// Who is let in; `None` if what is named cannot be used.
    fn access(&mut self) -> Option<Access> {
        let tokens = match self.take_file("tokens-file", TOKENS_CREDENTIAL) {
            Some(path) => Some(self.tokens(path)?),
            None => None,
        };
        Some(Access::new(tokens))
    }

    fn tokens(&mut self, path: PathBuf) -> Option<Arc<FromFiles<Tokens>>> {
        let shown = path.display().to_string();
        self.from_files("tokens", vec![path], move |files| {
            let text = std::str::from_utf8(&files[0]).map_err(|_| format!("{shown} is not UTF-8 text"))?;
            Tokens::parse(text).map_err(|error| format!("the tokens file {shown}: {error}"))
        })
    }

    fn check_reach(&mut self, listen: SocketAddr, access: &Access, insecure_no_auth: bool) {
        if !listen.ip().is_loopback() && !access.is_guarded() && !insecure_no_auth {
            self.mistake(format!(
                "--listen {listen} is reachable from other hosts, and nobody who asks there is authenticated: \
                 listen on 127.0.0.1, give --tokens-file, or give --insecure-no-auth if a firewall or a proxy \
                 stands before it"
            ));
        }
    }

    fn state_dir(&mut self) -> PathBuf {
        if let Some(path) = self.take::<PathBuf>("state-dir") {
            return path;
        }
        let from_systemd = self.environment().get(STATE_DIRECTORY).and_then(|list| list.split(':').next());
        match from_systemd.filter(|path| !path.is_empty()) {
            Some(path) => PathBuf::from(path),
            None => Path::new(&state_dir_default(self.program())).to_path_buf(),
        }
    }
}
