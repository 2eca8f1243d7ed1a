//! Jars: what the manifest says (JAR file specification, "JAR Manifest") and what the classes need
//! (JVM specification, 4.1).

/// The lines of a jar's manifest that decide how it is run.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// `Main-Class`: what `java -jar` starts.
    pub main_class: Option<String>,
    /// `Start-Class`: the application's own main class in a Spring Boot jar.
    pub start_class: Option<String>,
}

impl Manifest {
    /// Reads the main section of `META-INF/MANIFEST.MF`. Lines are at most 72 bytes long there: a longer value goes
    /// on in lines that begin with a space.
    pub fn parse(text: &str) -> Self {
        let mut lines: Vec<String> = Vec::new();
        for line in text.split('\n').map(|line| line.trim_end_matches('\r')) {
            match (line.strip_prefix(' '), lines.last_mut()) {
                (Some(more), Some(last)) => last.push_str(more),
                _ if line.is_empty() => break,
                _ => lines.push(line.to_owned()),
            }
        }
        let value = |key: &str| {
            lines.iter().filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
                let value = value.trim();
                (name.eq_ignore_ascii_case(key) && !value.is_empty()).then(|| value.to_owned())
            })
        };
        Self { main_class: value("Main-Class"), start_class: value("Start-Class") }
    }

    /// Where the classes that it names lie in the jar; the first that exists of each line tells the Java version.
    pub fn class_paths(&self) -> Vec<String> {
        let file = |class: &String| format!("{}.class", class.replace('.', "/"));
        let main = self.main_class.iter().map(file);
        let start = self.start_class.iter().map(file).map(|path| format!("BOOT-INF/classes/{path}"));
        main.chain(start).collect()
    }
}

/// The Java version that a class file needs, from its first 8 bytes.
pub fn java_version(head: &[u8]) -> Option<u16> {
    match head {
        [0xca, 0xfe, 0xba, 0xbe, _, _, high, low, ..] => u16::from_be_bytes([*high, *low]).checked_sub(44),
        _ => None,
    }
}

/// The Java runtime to propose for classes of this version: the oldest long-term release that runs them.
pub fn runtime(version: Option<u16>) -> u16 {
    const LONG_TERM: [u16; 5] = [8, 11, 17, 21, 25];
    let wanted = version.unwrap_or(21);
    LONG_TERM.into_iter().find(|release| *release >= wanted).unwrap_or(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lines_of_a_manifest_are_joined() {
        let text = "Manifest-Version: 1.0\r\nMain-Class: org.springframework.boot.loader.launch.Jar\r\n Launcher\r\n\
                    Start-Class: com.shop.user.UserApplication\r\n\r\nName: x\r\nMain-Class: no\r\n";
        let manifest = Manifest::parse(text);
        assert_eq!(
            manifest.class_paths(),
            [
                "org/springframework/boot/loader/launch/JarLauncher.class",
                "BOOT-INF/classes/com/shop/user/UserApplication.class"
            ]
        );
    }

    #[test]
    fn a_library_has_no_main_class() {
        assert_eq!(Manifest::parse("Manifest-Version: 1.0\nMain-Class:\n"), Manifest::default());
        assert_eq!(Manifest::parse(""), Manifest::default());
    }

    #[test]
    fn classes_name_their_java() {
        assert_eq!(java_version(b"\xca\xfe\xba\xbe\0\0\0\x3d"), Some(17));
        assert_eq!(java_version(b"PK\x03\x04\0\0\0\x3d"), None);
        assert_eq!(
            [None, Some(7), Some(17), Some(18), Some(25), Some(27)].map(runtime),
            [21, 8, 17, 21, 25, 27]
        );
    }
}
