//! Namespaces: what a container sees of the machine.
//!
//! Tools of util-linux do what needs system calls that Rust offers only in unsafe code. A shell, process 1 of a process
//! namespace of its own, reads a script that puts the root together on a tmpfs, moves into it and becomes the command:
//!
//! ```text
//!   setsid setpriv unshare ──fork──> sh ─> mount … ─> pivot_root ─> "ready PID" ─> env -i … command
//! ```
//!
//! `setpriv` has `unshare` killed when the simulator's thread that started it ends; `unshare` has process 1 killed when
//! it ends itself; and with process 1 the kernel kills the whole namespace. Who is not root takes a user namespace.

use std::{
    fmt::Write,
    fs, io,
    path::{Component, Path, PathBuf},
};

use rustix::process::Pid;
use tokio::process::Command;

use super::{Mount, Spec, StartError};

/// Where the machine's programs are; and a container's, if its environment has nothing else.
pub(crate) const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Folders of the machine that containers see, with a layer of their own above them.
const SYSTEM: [&str; 7] = ["bin", "etc", "lib", "lib32", "lib64", "sbin", "usr"];
const DEVICES: [&str; 7] = ["full", "null", "ptmx", "random", "tty", "urandom", "zero"];
/// What a container may write outside its volumes, in MiB: it is memory.
const LAYER: u32 = 256;

/// The image's own command: it says what it was given, and waits.
const DEFAULT: &str =
    r#"echo "$0 started with the variables: $*"; trap 'echo "$0 stopped"; exit 0' TERM; sleep infinity & wait"#;

/// Finds out whether containers can be started here.
///
/// # Errors
///
/// One line that says what is missing.
pub async fn check() -> Result<(), StartError> {
    let folder = tempfile::tempdir()?;
    let clock: super::Clock = std::sync::Arc::new(jiff::Timestamp::now);
    let command = vec!["true".to_owned()];
    let mounts = Vec::new();
    let environment = Vec::new();
    let spec = Spec { folder: folder.path().into(), image: "check".into(), command, environment, mounts, clock };
    let exit = super::Container::start(spec).await?.exited().await;
    match exit.code {
        0 => Ok(()),
        code => Err(StartError::Root(format!("`true` ended with {code}"))),
    }
}

/// Whether mounting needs a user namespace.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// A shell in namespaces of its own, which reads its script from standard input.
pub(crate) fn shell() -> Command {
    let mut command = Command::new("setsid");
    command.env_clear().env("PATH", PATH);
    if !is_root() {
        command.args(["unshare", "--user", "--map-root-user"]);
    }
    command.args(["setpriv", "--pdeathsig", "KILL"]);
    command.args(["unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "sh"]);
    command
}

/// A program in the namespaces of a container, by its process 1. It leads a session on the terminal that is its
/// standard input.
pub(crate) fn enter(init: Pid, terminal: bool) -> Command {
    let mut command = Command::new(program("setpriv"));
    command.env_clear();
    command.args(["--pdeathsig", "KILL"]).arg(program("nsenter"));
    if !is_root() {
        command.args(["--user", "--preserve-credentials"]);
    }
    command.args(["--mount", "--pid", "--target", &init.as_raw_nonzero().to_string()]);
    command.arg(program("setpriv")).args(["--pdeathsig", "KILL"]).arg(program("setsid"));
    if terminal {
        command.arg("--ctty");
    }
    // So that nsenter leads a group of processes, and setsid need not fork.
    command.arg("--").process_group(0);
    command
}

/// Where a tool is. What is looked for along the container's own `PATH` would be whatever that names.
fn program(name: &str) -> PathBuf {
    PATH.split(':').map(|folder| Path::new(folder).join(name)).find(|path| path.exists()).unwrap_or_else(|| name.into())
}

/// What [`shell`] has to read to become the container.
pub(crate) fn script(spec: &Spec) -> Result<String, StartError> {
    // To become a root it must be a mount.
    let root = format!("{}/root", field(&spec.folder.to_string_lossy()));
    let mut fstab = format!("{root} {root} none bind\n");
    fstab += &format!("proc {root}/proc proc nosuid,nodev,noexec\n");
    let mut folders = String::from("root/dev/pts root/dev/shm root/home root/proc root/root root/run root/var/log");
    let mut links = String::new();
    let mut files = String::new();
    for name in SYSTEM {
        let path = Path::new("/").join(name);
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => links += &format!(" /{name}"),
            Ok(found) if found.is_dir() => {
                // Without the privilege to mark what is deleted with trusted attributes, an overlay takes those of
                // users.
                let attributes = if is_root() { "" } else { ",userxattr" };
                folders += &format!(" root/{name} upper/{name} work/{name}");
                fstab += &format!(
                    "overlay {root}/{name} overlay lowerdir=/{name},upperdir=upper/{name},workdir=work/{name}{attributes}\n"
                );
            }
            _ => {}
        }
    }
    fstab += &format!("/dev/pts {root}/dev/pts none bind\n");
    for device in DEVICES {
        files += &format!(": >root/dev/{device}\n");
        fstab += &format!("/dev/{device} {root}/dev/{device} none bind\n");
    }
    let mut mounts: Vec<&Mount> = spec.mounts.iter().collect();
    // What is mounted within another mount comes after it.
    mounts.sort_by_key(|mount| mount.path.split('/').filter(|part| !part.is_empty()).count());
    for mount in mounts {
        fstab += &volume(&root, mount)?;
    }
    // Where these are mounts of the machine, as in many containers, an overlay does not show them.
    for file in ["hosts", "resolv.conf"] {
        if let Ok(text) = fs::read_to_string(Path::new("/etc").join(file)) {
            files += &format!("printf %s {} >upper/etc/{file}\n", quoted(&text));
        }
    }

    let copies = if links.is_empty() { links } else { format!("cp --no-dereference --{links} root\n") };
    let folder = quoted(&spec.folder.to_string_lossy());
    Ok(format!(
        "set -e\n\
         read -r pid rest </proc/self/stat\n\
         mount -t tmpfs -o mode=0755,size={LAYER}m tmpfs {folder}\n\
         cd {folder}\n\
         mkdir -p {folders}\n\
         mkdir -m 1777 root/tmp root/var/tmp\n\
         {copies}\
         {files}\
         printf %s {fstab} >fstab\n\
         mount --all --fstab fstab\n\
         cd root\n\
         pivot_root . .\n\
         umount -l .\n\
         echo \"ready $pid\"\n\
         exec env -i --{command} </dev/null\n",
        fstab = quoted(&fstab),
        command = command(spec)?,
    ))
}

/// A container's variables: its own, and a path.
pub(crate) fn environment(spec: &Spec) -> impl Iterator<Item = (&str, &str)> {
    let own = spec.environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    [("PATH", PATH)].into_iter().chain(own)
}

fn command(spec: &Spec) -> Result<String, StartError> {
    let mut words = String::new();
    for (name, value) in environment(spec) {
        if name.is_empty() || name.contains(['=', '\0']) || value.contains('\0') {
            return Err(StartError::Environment(name.to_owned()));
        }
        let _written = write!(words, " {}", quoted(&format!("{name}={value}")));
    }
    let default = ["sh", "-c", DEFAULT, &spec.image].map(str::to_owned).into_iter();
    let names = spec.environment.iter().map(|(name, _)| name.clone());
    let command: Vec<String> =
        if spec.command.is_empty() { default.chain(names).collect() } else { spec.command.clone() };
    for word in command {
        if word.contains('\0') {
            return Err(StartError::Command);
        }
        let _written = write!(words, " {}", quoted(&word));
    }
    Ok(words)
}

/// The line of fstab(5) that mounts a volume.
fn volume(root: &str, mount: &Mount) -> Result<String, StartError> {
    let path = Path::new(&mount.path);
    let mut parts = path.components();
    let below = parts.next() == Some(Component::RootDir)
        && parts.clone().next().is_some()
        && parts.all(|part| matches!(part, Component::Normal(_)))
        && !mount.path.contains('\0');
    if !below {
        return Err(StartError::MountPath(mount.path.clone()));
    }
    let source = field(&mount.source.to_string_lossy());
    let target = field(mount.path.trim_end_matches('/'));
    // To mount again what may carry these flags, one who is not root must not leave them out.
    let options = if mount.read_only { "bind,ro,nosuid,nodev" } else { "bind" };
    Ok(format!("{source} {root}{target} none {options},X-mount.mkdir\n"))
}

/// A field of fstab(5), which knows octal escapes.
fn field(text: &str) -> String {
    text.chars()
        .map(|sign| match sign {
            ' ' | '\t' | '\n' | '\\' | '#' => format!("\\{:03o}", u32::from(sign)),
            sign => sign.to_string(),
        })
        .collect()
}

/// One word of a shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// What a failed start has said, in one line.
pub(crate) fn explain(said: &str) -> StartError {
    let said = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect::<Vec<_>>().join("; ");
    StartError::Root(if said.is_empty() { "its shell ended without a word".to_owned() } else { said })
}

/// The process 1 that a line of the script's output announces.
pub(crate) fn announced(line: &str) -> Option<Pid> {
    let pid = line.strip_prefix("ready ")?.trim().parse().ok()?;
    Pid::from_raw(pid)
}

/// The tools must be there; which is missing is said by name.
pub(crate) fn missing(error: io::Error) -> StartError {
    match error.kind() {
        io::ErrorKind::NotFound => StartError::Root("there is no `setsid`: install util-linux".to_owned()),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_word_of_the_shell_stays_one_word() {
        assert_eq!(quoted("it's $HOME\n"), "'it'\\''s $HOME\n'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn a_field_of_fstab_stays_one_field() {
        assert_eq!(field("/a b\t#c\\d\ne"), r"/a\040b\011\043c\134d\012e");
    }

    #[test]
    fn a_failed_start_is_explained_in_one_line() {
        assert_eq!(
            explain("mount: no\n\n  sh: gone \n").to_string(),
            "a container's root could not be made: mount: no; sh: gone"
        );
        assert!(explain("").to_string().ends_with("its shell ended without a word"));
    }

    #[test]
    fn only_a_line_of_the_script_announces_a_process() {
        assert_eq!(announced("ready 17\n").map(|pid| pid.as_raw_nonzero().get()), Some(17));
        for line in ["", "ready", "ready x\n", "ready 0\n", "mount: ready 17\n"] {
            assert_eq!(announced(line), None, "{line}");
        }
    }
}
