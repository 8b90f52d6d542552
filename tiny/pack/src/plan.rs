//! What the packed file says about itself. The packer writes it, and the stub reads it.

/// What lies behind the stub, in the same segment. Addresses are counted from where the ELF header is in memory.
#[repr(C)]
pub struct Plan {
    /// The `sum` of the other fields, then of the data, and then of the packed image.
    pub sum: u64,
    /// Where the data begins, and how much of it is in the file, in whole words: behind it are zeros.
    pub data: u64,
    pub data_size: u64,
    /// Where the packed image begins, and its size.
    pub packed: u64,
    pub packed_size: u64,
    /// Where the image begins, at a page, and its size. The rest of its last page is zeros.
    pub image: u64,
    pub image_size: u64,
    /// Where in the image the code begins, which goes to its end.
    pub code: u64,
    /// Where the program starts.
    pub entry: u64,
}

/// How many zeros there are behind the packed image, so that it can be read ahead.
#[allow(dead_code, reason = "the stub only reads them")]
pub const PADDING: usize = 16;

/// A sum that tells whether something is damaged, continued from that of what comes before. Each step maps different words to
/// different sums, whatever the sum was before, so a single damaged word is always seen, and several but for a chance of
/// 2⁻⁶⁴. What is left behind the last eight bytes does not count.
pub fn sum(before: u64, bytes: &[u8]) -> u64 {
    bytes
        .as_chunks()
        .0
        .iter()
        .fold(before, |sum, &word| (sum ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29))
}
