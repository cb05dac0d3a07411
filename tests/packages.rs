//! What is shipped, as those who install it find it: the Debian package unpacked, the image read, the bill of
//! materials compared with the lock file.
//!
//! The package is made of the programs of this build, so that no release build is needed. The image takes only
//! static programs: those of this build for musl, which `.ci/run` makes beside it, and they are run from the image as a
//! container would run them. Where there are none, the static program that every Debian has, `ldconfig`, stands in for
//! them, and all but the running is tried.

#![allow(
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "it tells what it skips; files of a test need not be durable"
)]

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use harness::binaries::binary;
use harness::cluster::assert_settled;
use harness::http::Http;
use harness::ports::free_address;
use harness::process::{Process, Recipe};
use harness::{Redis, RedisOptions, topology, wait_until};
use serde_json::Value;

const PROGRAMS: [&str; 4] = ["dictator", "dnsd", "observer", "dictatorctl"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn run(command: &mut Command) -> Output {
    command.current_dir(root()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

#[track_caller]
fn said(output: Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The package, in this folder.
fn package(out: &Path) -> PathBuf {
    let programs = binary("dictator");
    PROGRAMS.iter().for_each(|program| drop(binary(program)));
    let made = run(Command::new("packaging/deb.sh")
        .arg("--fast")
        .arg("--from")
        .arg(programs.parent().expect("a folder"))
        .arg("--out")
        .arg(out));
    PathBuf::from(said(made).trim())
}

#[test]
fn the_package_unpacks_to_a_system_that_works() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let package = package(folder.path());
    let system = folder.path().join("system");
    said(run(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&system)));
    for program in PROGRAMS {
        let version = said(run(Command::new(system.join("usr/bin").join(program)).arg("--version")));
        assert!(version.contains("0."), "{program}: {version}");
    }
    for daemon in ["dictator", "dnsd", "observer"] {
        let unit =
            fs::read_to_string(system.join(format!("lib/systemd/system/{daemon}.service"))).expect("a unit");
        assert!(unit.contains(&format!("ExecStart=/usr/bin/{daemon}\n")));
        let settings = system.join(format!("etc/redis-dictator/{daemon}.env"));
        assert_eq!(fs::metadata(&settings).expect("settings").permissions().mode() & 0o777, 0o640);
        // With the settings as they are installed every daemon would start.
        let variables = fs::read_to_string(&settings).expect("settings");
        let variables = variables
            .lines()
            .filter_map(|line| line.split_once('='))
            .filter(|(name, _)| !name.starts_with('#'));
        let mut check = Command::new(system.join("usr/bin").join(daemon));
        let state = folder.path().to_str().expect("UTF-8");
        said(run(check.env_clear().envs(variables).args(["--check-config", "--state-dir", state])));
        let page = said(run(Command::new("gzip")
            .arg("-cd")
            .arg(system.join(format!("usr/share/man/man8/{daemon}.8.gz")))));
        assert!(page.contains("\\-\\-listen <IP:PORT>"), "{page}");
    }
    for place in [
        "etc/redis-dictator/redis.conf",
        "lib/systemd/system/redis-node@.service",
        "usr/share/bash-completion/completions/dictatorctl",
        "usr/share/doc/redis-dictator/examples/dnsd.service.d/port-53.conf",
        "usr/share/doc/redis-dictator/units.md",
        "usr/share/fish/vendor_completions.d/dictatorctl.fish",
        "usr/share/man/man1/dictatorctl-switch.1.gz",
        "usr/share/redis-dictator/prometheus/redis-dictator.rules.yml",
        "usr/share/zsh/vendor-completions/_dictatorctl",
    ] {
        assert!(system.join(place).is_file(), "{place}");
    }
}

#[test]
fn the_package_tells_dpkg_what_it_needs() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let package = package(folder.path());
    let control = folder.path().join("control");
    said(run(Command::new("dpkg-deb").arg("--control").arg(&package).arg(&control)));
    let read = |name: &str| fs::read_to_string(control.join(name)).expect("a control file");
    assert!(read("control").contains("\nDepends: libc6 (>= 2."), "{}", read("control"));
    let files: BTreeSet<String> = read("conffiles").lines().map(str::to_owned).collect();
    let settings = ["dictator.env", "dnsd.env", "observer.env", "redis.conf"];
    assert_eq!(files, settings.map(|name| format!("/etc/redis-dictator/{name}")).into());
    for script in ["postinst", "prerm", "postrm"] {
        let path = control.join(script);
        assert_eq!(fs::metadata(&path).expect("a script").permissions().mode() & 0o777, 0o755);
        said(run(Command::new("sh").arg("-n").arg(&path)));
        assert!(!read(script).contains("redis-node"), "{script}: nodes and their data are left alone");
    }
    let again = folder.path().join("again");
    let again = fs::read(self::package(&again)).expect("the same package");
    assert!(again == fs::read(&package).expect("the package"), "the same bytes from the same programs");
    let mut lintian = Command::new("lintian");
    lintian.args(["--fail-on", "error,warning", "--allow-root", "--suppress-tags", UNPACKED]);
    match lintian.arg(&package).output() {
        Ok(judged) => assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout)),
        Err(_) => eprintln!("skipped: lintian is not there to judge the package"),
    }
}

/// What lintian says of a package that was not compressed to make the test quick.
const UNPACKED: &str = "uses-no-compression-for-control-tarball,uses-no-compression-for-data-tarball";

/// Our programs as they are built for musl in the profile of this test, if they are.
fn static_programs() -> Option<PathBuf> {
    let ours = binary("dictator");
    let (profile, target) = (ours.parent()?, ours.ancestors().nth(2)?);
    let folder = target.join("x86_64-unknown-linux-musl").join(profile.file_name()?);
    PROGRAMS.iter().all(|program| folder.join(program).is_file()).then_some(folder)
}

/// The layout of an image made of our static programs, or of stand-ins; and whether they are ours.
fn image(folder: &Path) -> (PathBuf, bool) {
    let ours = static_programs();
    let stand_ins = folder.join("programs");
    if ours.is_none() {
        eprintln!("the image is made of stand-ins: no static programs are built (docs/packaging.md)");
        fs::create_dir(&stand_ins).expect("a folder");
        for program in PROGRAMS {
            fs::copy("/sbin/ldconfig", stand_ins.join(program)).expect("a static program");
        }
    }
    let programs = ours.as_ref().unwrap_or(&stand_ins);
    let archive = folder.join("image.tar");
    said(run(Command::new("packaging/image.sh")
        .arg("--fast")
        .arg("--from")
        .arg(programs)
        .arg("--out")
        .arg(&archive)));
    let layout = folder.join("layout");
    fs::create_dir(&layout).expect("a folder");
    said(run(Command::new("tar").arg("-xf").arg(&archive).arg("-C").arg(&layout)));
    (layout, ours.is_some())
}

/// A blob, after its digest and size were compared with what refers to it.
fn blob(layout: &Path, descriptor: &Value) -> PathBuf {
    let digest = descriptor["digest"].as_str().expect("a digest").strip_prefix("sha256:").expect("SHA-256");
    let path = layout.join("blobs/sha256").join(digest);
    let sum = said(run(Command::new("sha256sum").arg(&path)));
    assert!(sum.starts_with(digest), "{sum}");
    assert_eq!(descriptor["size"].as_u64(), Some(fs::metadata(&path).expect("a blob").len()));
    path
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).expect("a file"))
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_image_holds_the_programs_and_runs_them_as_nobody_special() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (layout, ours) = image(folder.path());
    assert_eq!(json(&layout.join("oci-layout"))["imageLayoutVersion"], "1.0.0");
    let manifest = json(&blob(&layout, &json(&layout.join("index.json"))["manifests"][0]));
    let config = json(&blob(&layout, &manifest["config"]));
    assert_eq!(config["config"]["User"], "65532:65532");
    assert_eq!(config["config"]["Cmd"][0], "/usr/bin/dictator");
    assert_eq!(manifest["layers"].as_array().map(Vec::len), Some(1));
    let layer = blob(&layout, &manifest["layers"][0]);
    let unpacked = folder.path().join("layer.tar");
    fs::write(&unpacked, run(Command::new("gzip").arg("-cd").arg(&layer)).stdout).expect("written");
    let sum = said(run(Command::new("sha256sum").arg(&unpacked)));
    let difference = config["rootfs"]["diff_ids"][0].as_str().expect("a digest");
    assert_eq!(Some(sum.split(' ').next().expect("a sum")), difference.strip_prefix("sha256:"));
    let listed = said(run(Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(&unpacked)));
    for program in PROGRAMS {
        let line = listed.lines().find(|line| line.ends_with(&format!(" usr/bin/{program}")));
        assert!(line.is_some_and(|line| line.starts_with("-rwxr-xr-x 0/0 ")), "{program}: {listed}");
    }
    for daemon in ["dictator", "dnsd", "observer"] {
        let line = listed.lines().find(|line| line.ends_with(&format!(" var/lib/redis-{daemon}/")));
        assert!(line.is_some_and(|line| line.starts_with("drwx------ 65532/65532 ")), "{daemon}: {listed}");
    }
    assert!(!listed.lines().any(|line| line.starts_with("-rws") || line.contains("/sh")), "{listed}");
    let files = listed.lines().filter(|line| line.starts_with('-')).count();
    assert_eq!(files, PROGRAMS.len() + 2, "the programs, passwd, group, and nothing else: {listed}");
    if ours {
        runs_as_a_container(folder.path(), &unpacked);
    }
}

/// Unpacks the layer and runs what is in it with it as the root, as the user of the image: the dictator makes a master.
fn runs_as_a_container(folder: &Path, layer: &Path) {
    let root = folder.join("root");
    fs::create_dir(&root).expect("a folder");
    // Its user goes through the folder of the test, too.
    for place in [folder, &root] {
        fs::set_permissions(place, fs::Permissions::from_mode(0o755)).expect("a folder of ours");
    }
    said(run(Command::new("tar").args(["--numeric-owner", "-xpf"]).arg(layer).arg("-C").arg(&root)));
    let inside = |program: &str| -> Vec<String> {
        let root = root.to_str().expect("UTF-8");
        ["--userspec=65532:65532", root, &format!("/usr/bin/{program}")].map(str::to_owned).to_vec()
    };
    for program in PROGRAMS {
        let ran = run(Command::new("chroot").args(inside(program)).arg("--version"));
        if String::from_utf8_lossy(&ran.stderr).contains("not permitted") {
            eprintln!("skipped: only root may run programs as another user with another root");
            return;
        }
        assert!(said(ran).starts_with(program), "{program}");
    }
    let address = free_address();
    let nodes = Redis::start_many(2, &RedisOptions::default());
    let mut arguments = inside("dictator");
    arguments.extend(["--listen".to_owned(), address.to_string()]);
    let mut dictator = Process::new(Recipe {
        name: "the dictator of the image".to_owned(),
        program: "chroot".into(),
        arguments,
        environment: Vec::new(),
        folder: folder.to_owned(),
        log: folder.join("log"),
    });
    dictator.start();
    let http = Http::new(address);
    wait_until("the dictator of the image to answer", std::time::Duration::from_secs(20), || {
        http.try_request("GET", "/healthz", &[], b"")
            .map_err(|error| format!("{error}: {}", harness::logs::tail(&folder.join("log"))))
    });
    http.put("/master?wait=links", &topology(&nodes[0], &[&nodes[1]])).expect(200);
    assert_settled(&nodes[0], &[&nodes[1]]);
    assert!(root.join("var/lib/redis-dictator/record.json").is_file(), "its state is where the volume is");
}

#[test]
fn the_image_takes_no_program_that_needs_a_library() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let programs = binary("dictator");
    let made = run(Command::new("packaging/image.sh")
        .arg("--from")
        .arg(programs.parent().expect("a folder"))
        .arg("--out")
        .arg(folder.path().join("image.tar")));
    assert!(!made.status.success());
    let errors = String::from_utf8_lossy(&made.stderr).into_owned();
    assert!(errors.contains("needs a C library"), "{errors}");
    assert!(!folder.path().join("image.tar").exists());
}

#[test]
fn the_bill_of_materials_has_every_crate_of_the_programs() {
    let made = run(Command::new(env!("CARGO")).args(["run", "--quiet", "--example", "sbom"]));
    let bill: Value = serde_json::from_str(&said(made)).expect("JSON");
    assert_eq!((&bill["bomFormat"], &bill["specVersion"]), (&"CycloneDX".into(), &"1.5".into()));
    let components = bill["components"].as_array().expect("components");
    let named = |name: &str| components.iter().find(|component| component["name"] == name);
    for ours in ["dictator", "dnsd", "observer", "ctl"] {
        assert_eq!(named(ours).expect("a program")["type"], "application");
    }
    for theirs in ["tokio", "redis", "hickory-proto", "etcd-client"] {
        let component = named(theirs).unwrap_or_else(|| panic!("{theirs} is missing"));
        assert_eq!(component["hashes"][0]["content"].as_str().map(str::len), Some(64), "{component}");
        assert!(!component["licenses"][0]["expression"].as_str().expect("a license").is_empty());
    }
    for tests in ["proptest", "tempfile", "harness", "redis-dictator"] {
        assert!(named(tests).is_none(), "{tests} is not shipped");
    }
    let references: BTreeSet<&str> =
        components.iter().filter_map(|component| component["bom-ref"].as_str()).collect();
    assert_eq!(references.len(), components.len(), "each once");
    for dependency in bill["dependencies"].as_array().expect("dependencies") {
        for on in dependency["dependsOn"].as_array().expect("a list") {
            assert!(references.contains(on.as_str().expect("a reference")), "{on}");
        }
    }
}
