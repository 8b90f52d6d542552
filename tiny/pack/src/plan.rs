//! What the packed file says about itself. The packer writes it, and the stub reads it.

/// What lies in front of the packed image, in the same segment. Addresses are counted from where the file's own ELF header
/// is in memory.
#[repr(C)]
pub struct Plan {
    /// The `sum` of all that follows: the other fields, and the packed image behind them.
    pub sum: u64,
    /// Of the packed image: so many bytes behind this.
    pub packed_size: u64,
    /// Where the image begins, at a page.
    pub image: u64,
    /// How much is unpacked: from the first byte of the first segment to the last byte that another one has in its file.
    pub image_size: u64,
    /// How much of it is what runs and what is only read: so many whole pages. All behind it can be written.
    pub fixed_size: u64,
    /// Where in the image the code is.
    pub code_start: u64,
    pub code_end: u64,
    /// Where the program starts.
    pub entry: u64,
}

/// How many zeros there are behind the packed image, so that it can be read ahead.
#[allow(dead_code, reason = "the stub only reads them")]
pub const PADDING: usize = 16;

/// A sum that tells whether something is damaged. Whatever the sum was before and whatever follows, each step maps different
/// words to different sums: it never takes a single damaged word for the right one, and several with a chance of 2⁻⁶⁴.
/// What is left behind the last eight bytes does not count.
pub fn sum(bytes: &[u8]) -> u64 {
    let (words, _) = bytes.as_chunks();
    words
        .iter()
        .fold(0, |sum, word| ((sum ^ u64::from_le_bytes(*word)).wrapping_mul(0x9e37_79b9_7f4a_7c15)).rotate_left(29))
}
