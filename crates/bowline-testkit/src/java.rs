//! Images with a Java virtual machine, `FROM scratch`: a runtime that jlink makes of the JDK that is installed, and nothing
//! else. No shell, no tool.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::host::{Host, finish};
use crate::skip::{missing_program, skip};

/// A program that keeps as many MiB alive as its first argument says, makes as many MiB of garbage as its second says, while
/// as many threads as its third says wait; these stay, and as many again end before.
const HOLD: &str = r#"
import java.util.*;
public class Hold {
  static volatile Object last;
  static Thread[] waiting(int count, long time) {
    Thread[] threads = new Thread[count];
    for (int i = 0; i < count; i++) {
      threads[i] = new Thread(() -> { try { Thread.sleep(time); } catch (InterruptedException e) { } });
      threads[i].start();
    }
    return threads;
  }
  public static void main(String[] arguments) throws Exception {
    int threads = Integer.parseInt(arguments[2]);
    waiting(threads, Long.MAX_VALUE);
    for (Thread thread : waiting(threads, 300)) thread.join();
    List<byte[]> held = new ArrayList<>();
    for (int i = 0; i < 64 * Integer.parseInt(arguments[0]); i++) held.add(new byte[16 * 1024 - 16]);
    for (int i = 0; i < 64 * Integer.parseInt(arguments[1]); i++) last = new byte[16 * 1024 - 16];
    System.out.println("ready " + held.size());
    Thread.sleep(Long.MAX_VALUE);
  }
}
"#;

/// Writes the root of an image: the runtime below `/opt/java` with the modules, the libraries that it needs, a `/tmp`.
///
/// # Panics
/// When there is no JDK, or it refuses.
pub fn write_runtime(root: &Path, modules: &str) {
    let temporary = root.join("tmp");
    fs::create_dir_all(&temporary).expect("the folder can be made");
    fs::set_permissions(&temporary, fs::Permissions::from_mode(0o1777)).expect("it is ours");
    let java = root.join("opt/java");
    fs::create_dir_all(root.join("opt")).expect("the folder can be made");
    let mut jlink = Command::new("jlink");
    jlink.args(["--add-modules", modules, "--strip-debug", "--no-header-files", "--no-man-pages"]);
    finish("jlink", jlink.args(["--compress=2", "--output"]).arg(&java).output().expect("it is installed"));
    let mut ldd = Command::new("ldd");
    let needed = ldd.args([java.join("bin/java"), java.join("lib/server/libjvm.so")]).output();
    let needed = finish("ldd", needed.expect("it is installed"));
    for library in needed.split_whitespace().filter(|word| word.starts_with("/lib") && !word.ends_with(':')) {
        let copy = root.join(&library[1..]);
        fs::create_dir_all(copy.parent().expect("a library has a folder")).expect("the folder can be made");
        fs::copy(library, copy).expect("the library can be copied");
    }
}

/// Makes an image on a host whose command is `java OPTIONS… -cp /app Hold MIB MIB THREADS` (see [`HOLD`]), with a user `app`
/// of number 7 that nothing runs as unless it is asked to. `None`, and a loud line, where there is no JDK.
///
/// # Panics
/// When the JDK or the engine refuses.
pub fn make(host: &Host, name: &str) -> Option<()> {
    if let Some(program) = missing_program(&["javac", "jlink", "ldd", "tar"]) {
        return skip(&format!("{program} is not installed (scripts/setup gradle)"));
    }
    let folder = tempfile::tempdir().expect("a folder can be made");
    let root = folder.path().join("root");
    write_runtime(&root, "java.base");
    fs::create_dir_all(root.join("app")).expect("the folder can be made");
    fs::create_dir_all(root.join("etc")).expect("the folder can be made");
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:/none\napp:x:7:7::/:/none\n")
        .expect("it can be written");
    fs::write(folder.path().join("Hold.java"), HOLD).expect("it can be written");
    let mut javac = Command::new("javac");
    javac.arg("-d").arg(root.join("app")).arg(folder.path().join("Hold.java"));
    finish("javac", javac.output().expect("it is installed"));
    let mut tar = Command::new("tar");
    tar.args(["--owner=0", "--group=0", "-c", "-C"]).arg(&root).arg(".").stdout(Stdio::piped());
    let mut tar = tar.spawn().expect("it is installed");
    let mut import = Command::new("docker");
    import.args(["-H", host.docker_host(), "import", "--change", "ENTRYPOINT [\"/opt/java/bin/java\"]"]);
    import.args(["-", name]).stdin(tar.stdout.take().expect("its output is a pipe"));
    finish("docker import", import.output().expect("it is installed"));
    assert!(tar.wait().expect("it ends").success(), "tar failed");
    Some(())
}
