//! Random numbers from a seed, and mutations that use them.

/// A SplitMix64 generator: small, quick, and the same everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Creates the generator of a seed. The same seed gives the same numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Returns the next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// Returns a number below `end`, or 0 if `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end.max(1) as u64) as usize
    }

    /// Returns true with a probability of 1 in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    /// Returns one of the items.
    pub fn pick<'a, T: ?Sized>(&mut self, items: &[&'a T]) -> &'a T {
        items[self.below(items.len())]
    }
}

/// Returns a number that depends on every bit of `number`.
pub fn mix(number: u64) -> u64 {
    let mut z = number;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Returns a number that depends on every byte of a text, ignoring ASCII case.
pub fn hash(seed: u64, text: &[u8]) -> u64 {
    let fold = |state: u64, c: &u8| mix(state ^ u64::from(c.to_ascii_lowercase()));
    text.iter().fold(mix(seed), fold)
}

/// Makes one to four changes: flips bits, replaces, inserts, deletes or copies bytes, or
/// inserts words of the dictionary.
pub fn mutate(random: &mut Random, bytes: &mut Vec<u8>, dictionary: &[&str]) {
    for _ in 0..=random.below(4) {
        mutate_once(random, bytes, dictionary);
    }
}

fn mutate_once(random: &mut Random, bytes: &mut Vec<u8>, dictionary: &[&str]) {
    let place = random.below(bytes.len() + 1);
    let length = 1 + random.below(8);
    let end = (place + length).min(bytes.len());
    match random.below(7) {
        0 if place < bytes.len() => bytes[place] ^= 1 << random.below(8),
        1 if place < bytes.len() => bytes[place] = special_byte(random),
        2 => bytes.insert(place, special_byte(random)),
        3 => drop(bytes.drain(place..end)),
        4 => {
            let copy = bytes[place..end].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, copy);
        }
        _ => {
            let word = random.pick(dictionary).bytes();
            bytes.splice(place..place, word);
        }
    }
}

/// Returns any byte, more often one with a meaning to parsers.
fn special_byte(random: &mut Random) -> u8 {
    const SPECIAL: &[u8] = b" \t\r\n\0\x0b\x0c\x7f\x80\xff;:=/%{}.,-_+?~@\"\\<>0aA";
    match random.one_in(4) {
        true => random.number() as u8,
        false => SPECIAL[random.below(SPECIAL.len())],
    }
}
