//! Random numbers that a seed repeats, and mutations made with them.

/// A SplitMix64 generator: small, quick, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Starts the sequence of this seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `end`, or 0 if `end` is.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end.max(1) as u64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// One of the items.
    pub fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }
}

/// A number that depends on every bit of another.
pub fn mix(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A number that depends on every octet of a text, without regard to ASCII case.
pub fn hash(seed: u64, text: &[u8]) -> u64 {
    let fold = |state: u64, c: &u8| mix(state ^ u64::from(c.to_ascii_lowercase()));
    text.iter().fold(mix(seed), fold)
}

/// Changes up to four places of `octets`: flips, insertions, deletions, copies,
/// and words of `dictionary`.
pub fn mutate(random: &mut Random, octets: &mut Vec<u8>, dictionary: &[&str]) {
    for _ in 0..=random.below(4) {
        mutate_once(random, octets, dictionary);
    }
}

fn mutate_once(random: &mut Random, octets: &mut Vec<u8>, dictionary: &[&str]) {
    let place = random.below(octets.len() + 1);
    let length = 1 + random.below(8);
    let end = (place + length).min(octets.len());
    match random.below(7) {
        0 if place < octets.len() => octets[place] ^= 1 << random.below(8),
        1 if place < octets.len() => octets[place] = odd_octet(random),
        2 => octets.insert(place, odd_octet(random)),
        3 => drop(octets.drain(place..end)),
        4 => {
            let copy = octets[place..end].to_vec();
            let to = random.below(octets.len() + 1);
            octets.splice(to..to, copy);
        }
        _ => {
            let word = random.pick(dictionary).bytes();
            octets.splice(place..place, word);
        }
    }
}

/// Any octet, but rather one that parsers care for.
fn odd_octet(random: &mut Random) -> u8 {
    const ODD: &[u8] = b" \t\r\n\0\x0b\x0c\x7f\x80\xff;:=/%{}.,-_+?~@\"\\<>0aA";
    match random.one_in(4) {
        true => random.number() as u8,
        false => ODD[random.below(ODD.len())],
    }
}
