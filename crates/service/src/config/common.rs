//! The settings that every daemon has, judged together: where it listens, and who is let in there.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::command::state_dir_default;
use super::value::HttpListen;
use super::{Common, Reader};
use crate::access::Access;
use crate::auth::Tokens;
use crate::clock;
use crate::files::FromFiles;
use crate::tls::{ClientCertificates, EXPIRY_NOTICE_S, ServerTls};

/// Where systemd says a service may keep state (systemd.exec(5), StateDirectory=).
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";
/// The systemd credential with the tokens, if no file is named.
const TOKENS_CREDENTIAL: &str = "tokens";
/// The systemd credentials for TLS, where no files are named.
const CERTIFICATE_CREDENTIAL: &str = "tls-cert";
const KEY_CREDENTIAL: &str = "tls-key";
const CLIENT_CA_CREDENTIAL: &str = "tls-client-ca";

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
        let tls = self.server_tls(tokens.is_some())?;
        let certificates = tls.is_some() && self.take_file("tls-client-ca", CLIENT_CA_CREDENTIAL).is_some();
        Some(Access::new(tokens, tls, certificates))
    }

    /// What connections are accepted with. The outer `None` says that it cannot be used.
    fn server_tls(&mut self, has_tokens: bool) -> Option<Option<Arc<FromFiles<ServerTls>>>> {
        let certificate = self.take_file("tls-cert", CERTIFICATE_CREDENTIAL);
        let key = self.take_file("tls-key", KEY_CREDENTIAL);
        let authority = self.take_file("tls-client-ca", CLIENT_CA_CREDENTIAL);
        let mut paths = match (certificate, key, &authority) {
            (Some(certificate), Some(key), _) => vec![certificate, key],
            (None, None, None) => return Some(None),
            _ => {
                self.mistake("TLS takes both --tls-cert and --tls-key; --tls-client-ca comes on top of them");
                return None;
            }
        };
        paths.extend(authority);
        let clients = match (paths.len(), has_tokens) {
            (2, _) => ClientCertificates::None,
            (_, true) => ClientCertificates::Optional,
            (_, false) => ClientCertificates::Required,
        };
        let named = paths.clone();
        let make = move |files: &[Vec<u8>]| ServerTls::new(&named, files, clients);
        let tls = self.from_files("certificate of the HTTP interface", paths.clone(), make)?;
        self.tell_of_expiry(&paths[0], tls.get().not_after_unix_s());
        Some(Some(tls))
    }

    /// A certificate that ends soon or has ended: the daemon starts all the same, for clients say it as well,
    /// and a daemon that stays down helps nobody.
    fn tell_of_expiry(&mut self, path: &Path, not_after_unix_s: Option<u64>) {
        const DAY_S: u64 = 24 * 60 * 60;
        let (Some(end_s), now_s) = (not_after_unix_s, clock::unix_seconds()) else { return };
        if end_s <= now_s {
            self.warning(format!("the certificate {} has expired; clients will refuse it", path.display()));
        } else if end_s - now_s < EXPIRY_NOTICE_S {
            let days = (end_s - now_s) / DAY_S;
            self.warning(format!("the certificate {} expires in {days} days", path.display()));
        }
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
                 listen on 127.0.0.1, give --tokens-file or --tls-client-ca, or give --insecure-no-auth if a \
                 firewall or a proxy stands before it"
            ));
        }
        if !listen.ip().is_loopback() && access.is_guarded() && !access.is_private() {
            self.warning(format!(
                "tokens are sent to --listen {listen} in clear text, for everybody on the way to read: give \
                 --tls-cert and --tls-key, or listen on 127.0.0.1 behind a proxy that speaks TLS"
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
