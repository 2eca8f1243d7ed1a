//! Symbolic links, followed as a kernel does inside a root: in a build context, and in an image's own file system.

/// Links followed before it counts as a loop, as the kernel does.
const HOPS: usize = 40;

/// The path that a path leads to, when every symbolic link in it is followed and none leads out of the root. Paths are
/// relative to the root, with slashes; the root is the empty one.
///
/// `target` says of a path that has no link before its last part where the link there leads, as written; nothing where
/// there is no link. Its errors end the walk. `None` is a loop.
pub(crate) fn follow<E>(
    path: &str,
    mut target: impl FnMut(&str) -> Result<Option<String>, E>,
) -> Result<Option<String>, E> {
    let parts = |path: &str| path.split('/').rev().map(str::to_owned).collect::<Vec<_>>();
    let mut todo = parts(path);
    let mut done: Vec<String> = Vec::new();
    let mut hops = 0;
    while let Some(part) = todo.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                done.pop();
                continue;
            }
            _ => done.push(part),
        }
        let Some(target) = target(&done.join("/"))? else { continue };
        hops += 1;
        if hops > HOPS {
            return Ok(None);
        }
        done.pop();
        if target.starts_with('/') {
            done.clear();
        }
        todo.extend(parts(&target));
    }
    Ok(Some(done.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_stay_inside_the_root_and_loops_end() {
        let links = [
            ("lib", "usr/lib"),
            ("var/run", "/run"),
            ("usr/lib/up", "../../etc"),
            ("out", "../../../etc"),
            ("self", "./a/.././self"),
            ("a", "b"),
            ("b", "a"),
        ];
        let target = |path: &str| {
            if path == "forbidden" {
                return Err("forbidden");
            }
            let found = links.iter().find(|(link, _)| *link == path);
            Ok(found.map(|(_, target)| (*target).to_owned()))
        };
        for (path, expected) in [
            ("", Ok(Some(""))),
            ("./new//dir/", Ok(Some("new/dir"))),
            ("../..", Ok(Some(""))),
            ("lib/x.so", Ok(Some("usr/lib/x.so"))),
            ("lib/../x", Ok(Some("usr/x"))),
            ("var/run/app.pid", Ok(Some("run/app.pid"))),
            ("lib/up/passwd", Ok(Some("etc/passwd"))),
            ("out/passwd", Ok(Some("etc/passwd"))),
            ("a/x", Ok(None)),
            ("self", Ok(None)),
            ("forbidden/x", Err("forbidden")),
        ] {
            assert_eq!(follow(path, target), expected.map(|found| found.map(str::to_owned)), "{path}");
        }
    }
}
