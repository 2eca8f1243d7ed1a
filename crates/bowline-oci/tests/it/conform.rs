//! The same Dockerfiles through the engine's builder and through ours: configs and file systems must be equal.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::Path;
use std::process::Command;

use bowline_core::digest::Digest;
use bowline_oci::assemble::Image;
use bowline_oci::build::{Built, How, build, unwatched};
use bowline_oci::config::ImageConfig;
use bowline_oci::engine::{Engine, Order};
use bowline_oci::registry::{Client, Options};
use bowline_oci::store::Store;
use bowline_testkit::host::Host;
use bowline_testkit::registry::{Registry, start_docker_registry_on};
use bowline_testkit::skip::skip;

use crate::place::{chain, options, platform, write};

/// A host with an engine, and a registry that it and we reach, with the base image `BASE`.
struct Scene {
    host: Host,
    registry: Registry,
    home: tempfile::TempDir,
    store: Store,
    client: Client,
    base: String,
}

impl Scene {
    fn new(name: &str) -> Option<Self> {
        let host = Host::start(name)?;
        let registry = start_docker_registry_on(host.gateway())?;
        let home = tempfile::tempdir().unwrap();
        let store = Store::open(&home.path().join("cache")).unwrap();
        let plain = [registry.address().to_string()].into();
        let client = Client::new(Options { plain, ..options() }).unwrap();
        let base = registry.repository("base:1");
        let archive = home.path().join("base.tar");
        write_base(&archive);
        let change = ["--change", "ENV BASE=yes", "--change", "CMD [\"/usr/bin/tool\"]"];
        let import = [&["import"], &change[..], &[archive.to_str().unwrap(), &base]].concat();
        host.docker(import);
        host.docker(["push", &base]);
        Some(Self { host, registry, home, store, client, base })
    }

    async fn native(&self, context: &Path, arguments: &BTreeMap<String, String>) -> Result<Built, String> {
        let dockerfile = context.join("Dockerfile");
        let order =
            Order { context, dockerfile: &dockerfile, target: None, arguments, platform: &platform() };
        build(&self.store, &self.client, None, &order, &|_| {}, &unwatched())
            .await
            .map_err(|error| chain(&error))
    }

    /// The engine's own result, by BuildKit; `None` where there is no BuildKit.
    async fn engine(&self, context: &Path, arguments: &BTreeMap<String, String>) -> Option<Image> {
        let id = context.parent().unwrap().join("id");
        let mut errors = String::new();
        // The newest command line needs a plugin for BuildKit; Debian's does not.
        for program in ["docker", "/usr/bin/docker"] {
            let mut command = Command::new(program);
            command.env("DOCKER_HOST", self.host.docker_host()).env("DOCKER_BUILDKIT", "1");
            command.args(["build", "--quiet", "--iidfile"]).arg(&id);
            for (name, value) in arguments {
                command.arg("--build-arg").arg(format!("{name}={value}"));
            }
            let output = command.arg(context).output().unwrap();
            if output.status.success() {
                let engine = Engine { host: Some(self.host.docker_host().into()) };
                let id = std::fs::read_to_string(&id).unwrap();
                return Some(engine.export(&self.store, id.trim()).await.unwrap());
            }
            errors += &String::from_utf8_lossy(&output.stderr);
        }
        assert!(errors.contains("buildx"), "{errors}");
        skip("there is no BuildKit: neither buildx nor Debian's docker command")
    }

    fn config(&self, image: &Image) -> ImageConfig {
        serde_json::from_slice(&self.store.read(&image.id.config).unwrap()).unwrap()
    }

    /// Every path of an image: what it is, mode, owner, and content.
    async fn files(&self, image: &Image) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        for layer in &image.layers {
            if self.store.size(&layer.digest).is_none() {
                let base = self.registry.repository("base").parse().unwrap();
                self.client
                    .pull_blob(&base, (&layer.digest, layer.size), &self.store, &unwatched())
                    .await
                    .unwrap();
            }
            let blob = self.store.open_blob(&layer.digest).unwrap();
            let mut archive = tar::Archive::new(flate2::read::MultiGzDecoder::new(blob));
            for entry in archive.entries().unwrap() {
                let mut entry = entry.unwrap();
                let header = entry.header().clone();
                let path = entry.path().unwrap().to_str().unwrap().trim_matches('/').to_owned();
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                let what = match header.entry_type() {
                    tar::EntryType::Directory => "directory".into(),
                    tar::EntryType::Symlink => {
                        format!("link {}", entry.link_name().unwrap().unwrap().display())
                    }
                    _ => format!("file {}", Digest::of(&content).short()),
                };
                let (uid, gid) = (header.uid().unwrap(), header.gid().unwrap());
                let mode = if what.starts_with("link") { 0o777 } else { header.mode().unwrap() & 0o7777 };
                if !what.starts_with("directory") {
                    // Whatever is put over a directory takes its place.
                    files.retain(|other: &String, _| !other.starts_with(&format!("{path}/")));
                }
                files.insert(path, format!("{mode:o} {uid}:{gid} {what}"));
            }
        }
        files.remove("");
        files
    }
}

/// A file system with merged /usr, a directory that everybody may write to and one that belongs to somebody.
fn write_base(path: &Path) {
    let mut builder = tar::Builder::new(std::fs::File::create(path).unwrap());
    use tar::EntryType::{Directory, Regular, Symlink};
    let mut add = |kind: tar::EntryType, path: &str, mode: u32, owner: u64, text: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner);
        header.set_gid(owner);
        header.set_mtime(1);
        header.set_size(0);
        match kind {
            Symlink => builder.append_link(&mut header, path, text).unwrap(),
            _ => {
                header.set_size(text.len() as u64);
                builder.append_data(&mut header, path, text.as_bytes()).unwrap();
            }
        }
    };
    for directory in ["usr/", "usr/bin/", "usr/lib/", "etc/", "run/", "var/", "opt/"] {
        add(Directory, directory, 0o755, 0, "");
    }
    add(Directory, "tmp/", 0o1777, 0, "");
    add(Directory, "home/", 0o755, 0, "");
    add(Directory, "home/app/", 0o700, 1000, "");
    add(Regular, "usr/bin/tool", 0o755, 0, "tool");
    add(Regular, "usr/lib/base.so", 0o644, 0, "base");
    add(Regular, "etc/passwd", 0o644, 0, "root:x:0:0::/:/bin/sh\napp:x:1000:1000::/home/app:/bin/sh\n");
    add(Symlink, "bin", 0o777, 0, "usr/bin");
    add(Symlink, "lib", 0o777, 0, "usr/lib");
    add(Symlink, "var/run", 0o777, 0, "/run");
    add(Symlink, "etc/link", 0o777, 0, "passwd");
    builder.finish().unwrap();
}

/// What every fixture's context holds.
fn write_context(context: &Path) {
    for (path, content) in [
        ("app.jar", "jar"),
        ("run.sh", "#!/bin/sh\n"),
        ("conf/a.yaml", "a"),
        ("conf/b.yaml", "b"),
        ("conf/sub/c.yaml", "c"),
        ("lib/x.so", "x"),
        ("lib/y.so", "y"),
        ("arr[0].txt", "array"),
        ("docs/README.md", "readme"),
        ("docs/other.md", "other"),
        ("build/libs/app-v1.jar", "v1"),
        ("build/tmp/junk", "junk"),
        ("spaced name", "spaced"),
    ] {
        write(context, path, content.as_bytes());
    }
    std::fs::create_dir_all(context.join("empty/inner")).unwrap();
    std::os::unix::fs::symlink("a.yaml", context.join("conf/current")).unwrap();
    std::os::unix::fs::symlink("conf", context.join("link-to-conf")).unwrap();
    std::os::unix::fs::symlink("../../app.jar", context.join("conf/sub/up")).unwrap();
    use std::os::unix::fs::PermissionsExt as _;
    for entry in walk(context) {
        let meta = entry.symlink_metadata().unwrap();
        if !meta.is_symlink() {
            let program = meta.is_dir() || entry.ends_with("run.sh");
            let mode = if program { 0o755 } else { 0o644 };
            std::fs::set_permissions(&entry, std::fs::Permissions::from_mode(mode)).unwrap();
        }
    }
}

fn walk(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        }
        found.push(entry.path());
    }
    found
}

const FIXTURES: &[(&str, &str)] = &[
    ("FROM scratch\nCOPY app.jar /a/b/app.jar\n", ""),
    ("FROM scratch\nCOPY . /\n", "Dockerfile\n.dockerignore\n"),
    ("FROM scratch\nCOPY conf /conf\nCOPY conf /conf/again/\nCOPY link-to-conf linked\n", ""),
    (
        "FROM scratch\nCOPY *.jar run.sh /app/\nCOPY arr[[]0].txt /\nCOPY conf/*.yaml /y/\nCOPY c?nf/s*/ /z/\n",
        "",
    ),
    ("FROM scratch\nCOPY [\"spaced name\", \"/with space/\"]\nCOPY conf/current /c\n", ""),
    (
        "FROM scratch\nWORKDIR /srv\nWORKDIR app\nCOPY app.jar .\nCOPY run.sh ./\nCOPY lib ../lib\nCOPY app.jar x\n",
        "",
    ),
    ("FROM scratch\nADD app.jar /app/\nADD conf /conf/\n", ""),
    (
        "FROM scratch\nCOPY --chown=1000:1001 app.jar /own/er/\nCOPY --chown=5 conf /five\nCOPY --chown=7:8 run.sh /seven\n",
        "",
    ),
    ("FROM scratch\nCOPY --chmod=600 app.jar /a\nCOPY --chmod=0755 lib/x.so lib/y.so /b/\n", ""),
    ("FROM scratch\nCOPY /../../app.jar /\nCOPY ./conf/../run.sh /\n", ""),
    // Ignore files.
    ("FROM scratch\nCOPY . /x\n", "*\n!build/libs\n"),
    ("FROM scratch\nCOPY . /x\n", "**/*.md\n!docs/README.md\nconf/\nbuild/**\n"),
    ("FROM scratch\nCOPY . /x\n", "*/*/c.yaml\n# no\n/lib\n  empty  \n!lib/x.so\nbuild/../app.jar\n"),
    ("FROM scratch\nCOPY build /x\n", "build\n!build/libs/*.jar\n"),
    ("FROM scratch\nCOPY docs /x\nCOPY conf /y\n", "**\n!docs/**\n!conf/sub\ndocs/other.md\n"),
    // The base's links and modes.
    ("FROM BASE\nCOPY lib/x.so /lib/\nCOPY run.sh /bin/tool2\nCOPY app.jar /var/run/app/\n", ""),
    ("FROM BASE\nCOPY lib /lib\nCOPY lib /usr/lib\n", ""),
    ("FROM BASE\nCOPY app.jar /tmp/\nCOPY app.jar /home/app/\nCOPY conf /home/app/conf\n", ""),
    (
        "FROM BASE\nCOPY app.jar /opt\nCOPY run.sh /usr/bin/tool\nCOPY app.jar /etc/link\nCOPY lib/x.so /bin\n",
        "",
    ),
    ("FROM BASE\nWORKDIR /bin/x\nCOPY app.jar .\nWORKDIR /opt\n", ""),
    ("FROM BASE\nUSER 1000:1000\nWORKDIR /home/app/work/deep\nCOPY app.jar .\n", ""),
    ("FROM BASE\nUSER app\nWORKDIR /opt\nCOPY --chown=1000:1000 app.jar conf /opt/app/\n", ""),
    // Configs.
    ("FROM BASE\nENTRYPOINT [\"java\", \"-jar\", \"/app.jar\"]\n", ""),
    ("FROM BASE\nCMD [\"x\"]\nENTRYPOINT exec java $JAVA_OPTS -jar /app.jar\n", ""),
    ("FROM BASE\nSHELL [\"/bin/bash\", \"-ec\"]\nCMD echo \"$HOME\" 'a  b' \\x\n", ""),
    (
        "FROM BASE\nENV A=1 B=\"two words\" C=it\\'s D=$A E=\"$BASE-${BASE:-no}-${NO:-default}\" F='$A'\nENV A=2 G=$A\nENV H $A and more\n",
        "",
    ),
    ("FROM scratch\nCOPY app.jar /\nENV PATH=/x:$PATH\nENV EMPTY= Q=\"a\\\"b\\\\c\\$d\" R=a\\ b\n", ""),
    ("FROM BASE\nLABEL a=b \"c d\"=\"e f\" g.h='i'\nLABEL a=$BASE\nMAINTAINER Some One <x@y>\n", ""),
    (
        "FROM BASE\nEXPOSE 80 443/tcp 53/udp 8000-8002\nVOLUME /data /more\nVOLUME [\"/j s\"]\nSTOPSIGNAL SIGINT\n",
        "",
    ),
    (
        "FROM BASE\nHEALTHCHECK --interval=30s --timeout=1m30s --start-period=500ms --retries=5 CMD curl -f http://localhost/ || exit 1\n",
        "",
    ),
    ("FROM BASE\nHEALTHCHECK CMD [\"/bin/check\", \"$A\"]\n", ""),
    ("FROM BASE\nHEALTHCHECK NONE\n", ""),
    (
        "ARG JAR=app.jar\nARG TAG=1\nFROM BASE AS final\nARG JAR\nARG PORT=8080\nARG GIVEN=default\nENV PORT=9090\nEXPOSE $PORT\nCOPY ${JAR} /x/$GIVEN/\nARG LATE=$GIVEN-x\nLABEL l=$LATE n=[$TAG]\n",
        "",
    ),
    ("FROM scratch\nARG X=1\nARG X=2 Y=$X\nARG X\nCOPY app.jar /\nLABEL x=$X y=$Y\n", ""),
    ("# escape=`\nFROM scratch\nENV A=`$x B=\"a`\"b\" C=\\n\nCOPY app.jar `\n  /multi/\n", ""),
    (
        "# syntax=docker/dockerfile:1\nfrom scratch\ncopy app.jar \\\n  # a comment\n  run.sh \\\n\n  /lower/\n",
        "",
    ),
    (
        "FROM BASE AS builder\nRUN [\"/usr/bin/none\"]\nFROM scratch\nARG TARGETARCH\nCOPY app.jar /$TARGETARCH/\n",
        "",
    ),
];

#[tokio::test]
async fn images_are_what_the_engine_would_have_built() {
    let Some(scene) = Scene::new("oci-conform") else { return };
    let arguments = BTreeMap::from([("GIVEN".to_owned(), "given value".to_owned())]);
    let mut problems = Vec::new();
    for (number, (dockerfile, ignore)) in FIXTURES.iter().enumerate() {
        let context = scene.home.path().join(format!("fixture-{number}/context"));
        write_context(&context);
        // The syntax line would make the engine fetch its frontend from the internet.
        let dockerfile = dockerfile.replace("BASE", &scene.base);
        let dockerfile = dockerfile.replace(&format!("${}", scene.base), "$BASE");
        let dockerfile = dockerfile.replace(&format!("${{{}", scene.base), "${BASE");
        write(&context, "Dockerfile", dockerfile.as_bytes());
        if !ignore.is_empty() {
            write(&context, ".dockerignore", ignore.as_bytes());
        }
        let ours = match scene.native(&context, &arguments).await {
            Ok(built) if built.how == How::Native => built.image,
            Ok(_) => unreachable!("there is no engine to hand it to"),
            Err(error) => {
                problems.push(format!("--- {dockerfile}\n{error}"));
                continue;
            }
        };
        let plain = dockerfile.replace("# syntax=docker/dockerfile:1\n", "");
        write(&context, "Dockerfile", plain.as_bytes());
        let Some(theirs) = scene.engine(&context, &arguments).await else { return };
        let (a, b) = (scene.config(&ours), scene.config(&theirs));
        let mut lines = Vec::new();
        if a.config != b.config
            || a.author.clone().unwrap_or_default() != b.author.clone().unwrap_or_default()
        {
            lines.push(format!("ours   {:?} {:?}\ntheirs {:?} {:?}", a.config, a.author, b.config, b.author));
        }
        let (mut a, mut b) = (scene.files(&ours).await, scene.files(&theirs).await);
        // The Dockerfile without its syntax line.
        for files in [&mut a, &mut b] {
            files.retain(|path, _| !path.ends_with("Dockerfile"));
        }
        for path in a.keys().chain(b.keys()).collect::<std::collections::BTreeSet<_>>() {
            if a.get(path) != b.get(path) {
                lines.push(format!("{path}: ours {:?}, theirs {:?}", a.get(path), b.get(path)));
            }
        }
        if !lines.is_empty() {
            problems.push(format!("--- {dockerfile}({ignore:?})\n{}", lines.join("\n")));
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

/// Dockerfiles that are not for us, with the line and a word of the reason.
const HANDED_OVER: &[(&str, usize, &str)] = &[
    ("FROM scratch\nCOPY app.jar /\nRUN true\n", 3, "RUN"),
    ("FROM scratch\nADD https://example.com/x /\n", 2, "ADD https"),
    ("FROM scratch\nADD a.tar.gz /\n", 2, "archive"),
    ("FROM scratch\nCOPY --from=x a /\n", 2, "--from=x"),
    ("FROM scratch\nCOPY --chown=app a /\n", 2, "--chown=app"),
    ("FROM scratch\nCOPY <<X /a\nhello\nX\n", 2, "here-document"),
    ("FROM scratch\nCOPY nothing* /a/\n", 2, "nothing matches"),
    ("FROM scratch\nCOPY app.jar /a/sub\nCOPY conf /a\n", 3, "is a directory"),
    ("FROM scratch\nENV A=${B#x}\n", 2, "${B#"),
    ("FROM scratch\nEXPOSE 80:80\n", 2, "EXPOSE 80:80"),
    ("FROM scratch\nONBUILD COPY a /\n", 2, "ONBUILD"),
    ("FROM scratch AS x\nFROM x\nCOPY app.jar /\n", 2, "stage `x`"),
    ("# syntax=example.com/other\nFROM scratch\n", 1, "example.com/other"),
    ("FROM BASE\nCOPY tmpdir /\n", 2, "another mode"),
    ("FROM BASE\nCOPY rootfs /\n", 2, "is not"),
    ("FROM scratch\nUSER app\nWORKDIR /x\n", 3, "WORKDIR"),
    ("FROM scratch\nHEALTHCHECK --interval=1us CMD x\n", 2, "--interval"),
    ("FROM scratch\nCOPY --link --exclude=x app.jar /\n", 2, "--exclude"),
];

#[tokio::test]
async fn what_is_not_certain_is_handed_over_with_its_line() {
    let Some(scene) = Scene::new("oci-handover") else { return };
    let context = scene.home.path().join("fixture/context");
    write_context(&context);
    write(&context, "a.tar.gz", &[0x1f, 0x8b, 8, 0]);
    write(&context, "tmpdir/tmp/x", b"x");
    write(&context, "rootfs/lib/x", b"x");
    for (dockerfile, line, reason) in HANDED_OVER {
        write(&context, "Dockerfile", dockerfile.replace("BASE", &scene.base).as_bytes());
        let error = scene.native(&context, &BTreeMap::new()).await.unwrap_err();
        assert!(error.contains(&format!("line {line}: ")) && error.contains(reason), "{dockerfile}: {error}");
    }
}

#[tokio::test]
async fn the_engine_builds_what_it_is_handed() {
    let Some(scene) = Scene::new("oci-engine") else { return };
    let context = scene.home.path().join("fixture/context");
    write_context(&context);
    let dockerfile = context.join("Dockerfile");
    let arguments = BTreeMap::from([("WHO".to_owned(), "given".to_owned())]);
    let engine = Engine { host: Some(scene.host.docker_host().into()) };
    let order = Order {
        context: &context,
        dockerfile: &dockerfile,
        target: None,
        arguments: &arguments,
        platform: &platform(),
    };
    let heard = std::sync::Mutex::new(Vec::new());
    let hear = |line: &str| heard.lock().unwrap().push(line.to_owned());
    // ONBUILD, which the builder knows and we leave to it.
    let text =
        format!("FROM {}\nARG WHO\nLABEL who=$WHO\nCOPY app.jar /bin/\nONBUILD COPY x /\n", scene.base);
    write(&context, "Dockerfile", text.as_bytes());
    let built = build(&scene.store, &scene.client, Some(&engine), &order, &hear, &unwatched()).await;
    let built = built.unwrap_or_else(|error| panic!("{}", chain(&error)));
    let How::Engine(handover) = built.how else { panic!("the engine") };
    assert_eq!(handover.to_string(), "line 5: ONBUILD");
    let config = scene.config(&built.image);
    assert_eq!(config.config.labels.unwrap()["who"], "given");
    assert!(scene.files(&built.image).await.contains_key("usr/bin/app.jar"));
    assert!(!heard.lock().unwrap().is_empty());
    let again = build(&scene.store, &scene.client, Some(&engine), &order, &hear, &unwatched()).await.unwrap();
    assert_eq!(again.image, built.image);

    // An image that only the engine has.
    scene.host.docker(["tag", &scene.base, "only/here:1"]);
    write(&context, "Dockerfile", b"FROM 127.0.0.1:1/only/here:1\nCOPY app.jar /\n");
    scene.host.docker(["tag", &scene.base, "127.0.0.1:1/only/here:1"]);
    let built = build(&scene.store, &scene.client, Some(&engine), &order, &hear, &unwatched()).await.unwrap();
    assert_eq!((built.how, built.base), (How::Native, None));
    assert!(scene.files(&built.image).await.contains_key("usr/bin/tool"));
    let again = build(&scene.store, &scene.client, Some(&engine), &order, &hear, &unwatched()).await.unwrap();
    assert_eq!(again.image, built.image);

    // A build that fails says so in the engine's words.
    write(&context, "Dockerfile", b"FROM scratch\nRUN [\"/none\"]\n");
    let error =
        build(&scene.store, &scene.client, Some(&engine), &order, &hear, &unwatched()).await.unwrap_err();
    let text = chain(&error);
    assert!(text.contains("line 2: RUN") && text.contains("/none"), "{text}");
}
