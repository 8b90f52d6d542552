//! The decoder of DEFLATE (RFC 1951). It takes no memory but some 4 KiB of the stack, and refuses what is no such stream.

/// How long a code can be.
const LONGEST: usize = 15;
/// Codes of so many bits, and most are no longer, are found in a table by one look.
const SHORT: usize = 10;
const SYMBOLS: usize = 288;
const END: usize = 256;

/// Fills `output` with what `input` unpacks to: neither less nor more. Behind the stream there are some bytes, no matter
/// which: at least 15, which are read ahead.
pub fn inflate(input: &[u8], output: &mut [u8]) -> Option<()> {
    let mut bits = Bits { input, held: 0, count: 0 };
    let mut written = 0;
    let mut literals = Code::new();
    let mut distances = Code::new();
    loop {
        bits.fill()?;
        let last = bits.take(1) == 1;
        let mut lengths = [0; SYMBOLS + 32];
        let (for_literals, for_distances) = match bits.take(2) {
            0 => {
                written = stored(&mut bits, output, written)?;
                if last {
                    break;
                }
                continue;
            }
            1 => {
                for (symbol, length) in lengths.iter_mut().enumerate() {
                    *length = match symbol {
                        0..144 => 8,
                        144..256 => 9,
                        256..280 => 7,
                        280..288 => 8,
                        _ => 5,
                    };
                }
                lengths.split_at_checked(SYMBOLS)?
            }
            2 => described(&mut bits, &mut literals, &mut lengths)?,
            _ => return None,
        };
        literals.set(for_literals)?;
        distances.set(for_distances)?;
        written = compressed(&mut bits, &literals, &distances, output, written)?;
        if last {
            break;
        }
    }
    (written == output.len()).then_some(())
}

/// The input, bit by bit.
struct Bits<'a> {
    input: &'a [u8],
    /// What is taken next, the lowest bit first.
    held: u64,
    count: u32,
}

impl Bits<'_> {
    /// Holds at least 56 bits. The longest length with its distance, and with their extra bits, is 48.
    fn fill(&mut self) -> Option<()> {
        let word = u64::from_le_bytes(*self.input.first_chunk()?);
        self.held |= word << self.count;
        self.input = self.input.get((63 - self.count as usize) / 8..)?;
        self.count |= 56;
        Some(())
    }

    /// So many bits, of those that are held.
    fn take(&mut self, count: u32) -> usize {
        let taken = self.held & ((1 << count) - 1);
        self.held >>= count;
        self.count = self.count.wrapping_sub(count);
        taken as usize
    }
}

/// A Huffman code (RFC 1951 §3.2.2).
struct Code {
    /// By the next bits: the symbol, and in the lowest four bits the length of its code; or 0 if that is longer.
    table: [u16; 1 << SHORT],
    /// How many codes there are of each length.
    counts: [u16; LONGEST + 1],
    /// In the order of their codes.
    symbols: [u16; SYMBOLS],
}

impl Code {
    fn new() -> Self {
        Code { table: [0; _], counts: [0; _], symbols: [0; _] }
    }

    /// The code in which the symbols have codes of these lengths, or none where that is 0.
    fn set(&mut self, lengths: &[u8]) -> Option<()> {
        *self = Code::new();
        let mut at = 0;
        let mut code = 0_usize;
        for length in 1..=LONGEST {
            for (symbol, &given) in lengths.iter().enumerate() {
                if usize::from(given) != length {
                    continue;
                }
                *self.symbols.get_mut(at)? = symbol as u16;
                at += 1;
                if length <= SHORT {
                    // The first bit of a code comes first, which is the lowest.
                    let mut index = code.reverse_bits() >> (usize::BITS as usize - length);
                    while let Some(entry) = self.table.get_mut(index) {
                        *entry = (symbol << 4 | length) as u16;
                        index += 1 << length;
                    }
                }
                code += 1;
                *self.counts.get_mut(length)? += 1;
            }
            // There are not more codes than there can be.
            if code > 1 << length {
                return None;
            }
            code <<= 1;
        }
        Some(())
    }

    /// The next symbol.
    #[inline]
    fn symbol(&self, bits: &mut Bits) -> Option<usize> {
        let entry = self.table[bits.held as usize % (1 << SHORT)];
        if entry == 0 {
            return self.long(bits);
        }
        bits.take(u32::from(entry % 16));
        Some(usize::from(entry / 16))
    }

    /// The same, whatever the length of its code.
    #[cold]
    #[inline(never)]
    fn long(&self, bits: &mut Bits) -> Option<usize> {
        // The codes of one length follow each other, behind all that begin with a shorter one.
        let (mut code, mut first, mut at) = (0, 0, 0);
        for &count in self.counts.iter().skip(1) {
            let count = usize::from(count);
            code |= bits.take(1);
            if code < first + count {
                return self.symbols.get(at + code.wrapping_sub(first)).map(|&symbol| symbol.into());
            }
            at += count;
            first = (first + count) << 1;
            code <<= 1;
        }
        None
    }
}

/// §3.2.4.
fn stored(bits: &mut Bits, output: &mut [u8], mut written: usize) -> Option<usize> {
    bits.take(bits.count % 8);
    let length = bits.take(16);
    if bits.take(16) != length ^ 0xffff {
        return None;
    }
    for _ in 0..length {
        bits.fill()?;
        *output.get_mut(written)? = bits.take(8) as u8;
        written += 1;
    }
    Some(written)
}

/// §3.2.7. The lengths of both codes, which are in a code of their own: `code` has room for that.
fn described<'a>(bits: &mut Bits, code: &mut Code, lengths: &'a mut [u8]) -> Option<(&'a [u8], &'a [u8])> {
    let literals = bits.take(5) + 257;
    let distances = bits.take(5) + 1;
    let given = bits.take(4) + 4;
    let mut own = [0; 19];
    for &symbol in [16_u8, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15].iter().take(given) {
        bits.fill()?;
        *own.get_mut(usize::from(symbol))? = bits.take(3) as u8;
    }
    code.set(&own)?;
    let (mut at, all) = (0, literals + distances);
    let mut before = 0;
    while at < all {
        bits.fill()?;
        let symbol = code.symbol(bits)?;
        let (length, times) = match symbol {
            0..16 => (symbol as u8, 1),
            16 => (before, bits.take(2) + 3),
            17 => (0, bits.take(3) + 3),
            _ => (0, bits.take(7) + 11),
        };
        for _ in 0..times {
            *lengths.get_mut(at)? = length;
            at += 1;
        }
        before = length;
    }
    lengths.get(..all)?.split_at_checked(literals)
}

/// §3.2.3 and §3.2.5. Gives how much is written then.
fn compressed(
    bits: &mut Bits,
    literals: &Code,
    distances: &Code,
    output: &mut [u8],
    mut written: usize,
) -> Option<usize> {
    loop {
        bits.fill()?;
        let symbol = literals.symbol(bits)?;
        if symbol < END {
            *output.get_mut(written)? = symbol as u8;
            written += 1;
            continue;
        }
        if symbol == END {
            return Some(written);
        }
        let length = match symbol - END - 1 {
            28 => 258,
            symbol => scaled(symbol, 2, bits) + 3,
        };
        let distance = scaled(distances.symbol(bits)?, 1, bits) + 1;
        let repeated = output.get_mut(written.checked_sub(distance)?..written.checked_add(length)?)?;
        // One by one: what is written here may be what is repeated.
        for at in 0..length {
            let byte = *repeated.get(at)?;
            *repeated.get_mut(at + distance)? = byte;
        }
        written += length;
    }
}

/// What a symbol of a length or a distance stands for, with its extra bits: the first come one by one, then `1 << steps` of
/// them have the same number of these, and the next so many one more.
fn scaled(symbol: usize, steps: u32, bits: &mut Bits) -> usize {
    let step = 1 << steps;
    if symbol < 2 * step {
        return symbol;
    }
    let extra = (symbol >> steps) as u32 - 1;
    ((step + symbol % step) << extra) + bits.take(extra % 16)
}
