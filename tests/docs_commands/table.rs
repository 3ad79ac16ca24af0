//! Parses `table.txt`, the expected outcomes of command lines.

pub struct Entry {
    /// The prefix of the command lines that the entry is about.
    pub begin: &'static str,
    pub how: How,
}

pub enum How {
    Ends(i32, &'static str),
    Makes(&'static str, &'static str),
    There(&'static str, &'static str),
    Nowhere(&'static str),
}

pub struct Table(Vec<Entry>);

impl Table {
    pub fn read() -> Self {
        let lines = include_str!("table.txt").lines();
        let entries = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Self(entries.map(Entry::parse).collect())
    }

    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    pub fn entry(&self, line: &str) -> Option<&Entry> {
        let entries = self.0.iter().filter(|entry| line.starts_with(entry.begin));
        entries.max_by_key(|entry| entry.begin.len())
    }
}

impl Entry {
    fn parse(line: &'static str) -> Self {
        let (begin, rest) = line.split_once(" => ").expect(line);
        let (verb, rest) = rest.split_once(' ').expect(line);
        let parts = || rest.split_once(' ').expect(line);
        let how = match verb {
            "ends" => How::Ends(parts().0.parse().expect(line), parts().1),
            "makes" => How::Makes(parts().0, parts().1),
            "there" => How::There(parts().0, parts().1),
            "nowhere" => How::Nowhere(rest),
            _ => panic!("{line}"),
        };
        let begin = begin.trim_end();
        Self { begin, how }
    }
}
