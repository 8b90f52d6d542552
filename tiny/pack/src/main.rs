//! Packs a static binary into one that unpacks itself when it is started, as the image of a kernel does.
//!
//! ```text
//! pack STUB UNPACKED PACKED
//! ```
//!
//! The packed file is a static-pie ELF executable with three segments to load:
//!
//! | segment | rights | in the file | in memory |
//! | --- | --- | --- | --- |
//! | ELF header, program headers, stub | R E | from 0 | from 0 |
//! | plan, packed image | R | behind that | one page further |
//! | none of it is in the file | RW | | where the unpacked binary has its first segment, to the end of its last |
//!
//! The other program headers are those of the unpacked binary, at the same addresses, so that whoever finds them by way of
//! the auxiliary vector, such as the start of the libc, finds what they tell of once it is unpacked. For the unpacked one is
//! linked to lie behind the packed one: nothing in it has to be moved. The segment without content is the last, which every
//! version of Linux maps as it is meant.

mod inflate;
mod operands;
mod plan;

use std::env::args_os;
use std::error::Error;
use std::fs;
use std::mem::offset_of;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use plan::{PADDING, Plan};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

const PAGE: u64 = 4096;
const EHDR: usize = 64;
const PHDR: usize = 56;
/// As stub/stub.ld has it.
const STUB: usize = EHDR + 9 * PHDR;

const ET_DYN: u16 = 3;
const EM_X86_64: u16 = 62;
const PT_LOAD: u32 = 1;
const PT_INTERP: u32 = 3;
const PT_PHDR: u32 = 6;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
const PF_R: u32 = 4;

/// A program header.
#[derive(Clone, Copy)]
struct Header {
    kind: u32,
    flags: u32,
    offset: u64,
    address: u64,
    in_file: u64,
    in_memory: u64,
    align: u64,
}

impl Header {
    fn read(bytes: &[u8; PHDR]) -> Self {
        Header {
            kind: u32::from_le_bytes(at(bytes, 0)),
            flags: u32::from_le_bytes(at(bytes, 4)),
            offset: u64::from_le_bytes(at(bytes, 8)),
            address: u64::from_le_bytes(at(bytes, 16)),
            in_file: u64::from_le_bytes(at(bytes, 32)),
            in_memory: u64::from_le_bytes(at(bytes, 40)),
            align: u64::from_le_bytes(at(bytes, 48)),
        }
    }

    fn write(&self, file: &mut Vec<u8>) {
        file.extend(self.kind.to_le_bytes());
        file.extend(self.flags.to_le_bytes());
        // The physical address is not used, and that of before is customary.
        for number in [self.offset, self.address, self.address, self.in_file, self.in_memory, self.align] {
            file.extend(number.to_le_bytes());
        }
    }

    fn end(&self) -> u64 {
        self.address + self.in_memory
    }
}

fn at<const N: usize>(bytes: &[u8], offset: usize) -> [u8; N] {
    *bytes[offset..].first_chunk().expect("the header is as long")
}

/// The unpacked binary.
struct Unpacked<'a> {
    /// Its ELF header.
    header: &'a [u8; EHDR],
    headers: Vec<Header>,
    /// From the first byte of its first segment to the last byte that one has in the file, as it is in memory.
    image: Vec<u8>,
    /// Where that begins, and where the last segment ends.
    start: u64,
    end: u64,
    /// Up to where nothing is written.
    fixed_end: u64,
    entry: u64,
}

/// Reads the binary, and refuses it if it is none for which packer and stub are made.
fn read(file: &[u8]) -> Result<Unpacked<'_>> {
    let header: &[u8; EHDR] = file.first_chunk().ok_or("it is shorter than an ELF header")?;
    // Of 64 bits, the lowest byte first.
    if !header.starts_with(b"\x7fELF\x02\x01\x01") || u16::from_le_bytes(at(header, 18)) != EM_X86_64 {
        return Err("it is no ELF file for x86_64".into());
    }
    if u16::from_le_bytes(at(header, 16)) != ET_DYN {
        return Err("it is not position independent".into());
    }
    let table = usize::try_from(u64::from_le_bytes(at(header, 32)))?;
    let count = usize::from(u16::from_le_bytes(at(header, 56)));
    let table = file.get(table..).unwrap_or_default().get(..count * PHDR).ok_or("it has no program headers")?;
    let headers: Vec<_> = table.as_chunks().0.iter().map(Header::read).collect();
    if headers.iter().any(|header| header.kind == PT_INTERP) {
        return Err("it is not static".into());
    }
    let loaded: Vec<_> = headers.iter().filter(|header| header.kind == PT_LOAD).collect();
    let [fixed, written @ ..] = &loaded[..] else { return Err("it has no segments".into()) };
    // One that is executed, and behind it others that are written. The stub knows no more rights than these.
    if fixed.flags != PF_R | PF_X || written.iter().any(|header| header.flags != PF_R | PF_W) || written.is_empty() {
        return Err("its segments are not R E, RW, …".into());
    }
    let start = fixed.address;
    let fixed_end = fixed.end().next_multiple_of(PAGE);
    if !start.is_multiple_of(PAGE) || written[0].address < fixed_end {
        return Err("its segments share a page".into());
    }
    let mut image = Vec::new();
    for segment in &loaded {
        let content = file.get(usize::try_from(segment.offset)?..).unwrap_or_default();
        let content = content.get(..usize::try_from(segment.in_file)?).ok_or("a segment is not all in the file")?;
        let begin = usize::try_from(segment.address.checked_sub(start).ok_or("its segments are in no order")?)?;
        if begin < image.len() || segment.in_file > segment.in_memory {
            return Err("its segments overlap".into());
        }
        if content.is_empty() {
            continue;
        }
        image.resize(begin, 0);
        image.extend(content);
    }
    let end = loaded.iter().map(|header| header.end()).max().unwrap_or(0);
    let entry = u64::from_le_bytes(at(header, 24));
    Ok(Unpacked { header, headers, image, start, end, fixed_end, entry })
}

/// The packed file.
fn pack(stub: &[u8], unpacked: &Unpacked) -> Result<Vec<u8>> {
    // The code begins where the program starts at the latest: constants lie before it.
    let image_size = unpacked.image.len() as u64;
    let mut code = (unpacked.entry - unpacked.start, unpacked.fixed_end - unpacked.start);
    code.1 = code.1.min(image_size);
    let mut filtered = unpacked.image.clone();
    operands::to_absolute(&mut filtered[code.0 as usize..code.1 as usize]);
    let mut packed = Vec::new();
    zopfli::compress(zopfli::Options::default(), zopfli::Format::Deflate, &filtered[..], &mut packed)?;
    packed.resize((packed.len() + PADDING).next_multiple_of(8), 0);

    let mut plan = Vec::new();
    for field in [
        packed.len() as u64,
        unpacked.start,
        image_size,
        unpacked.fixed_end - unpacked.start,
        code.0,
        code.1,
        unpacked.entry,
    ] {
        plan.extend(field.to_le_bytes());
    }
    plan.extend(packed);
    let sum = plan::sum(&plan);

    let behind_stub = (STUB + stub.len()) as u64;
    let size = behind_stub + (offset_of!(Plan, packed_size) + plan.len()) as u64;
    let first = Header {
        kind: PT_LOAD,
        flags: PF_R | PF_X,
        offset: 0,
        address: 0,
        in_file: behind_stub,
        in_memory: behind_stub,
        align: PAGE,
    };
    let second = Header {
        flags: PF_R,
        offset: behind_stub,
        address: behind_stub.next_multiple_of(PAGE) + behind_stub % PAGE,
        in_file: size - behind_stub,
        in_memory: size - behind_stub,
        ..first
    };
    let third = Header {
        flags: PF_R | PF_W,
        offset: 0,
        address: unpacked.start,
        in_file: 0,
        in_memory: unpacked.end - unpacked.start,
        ..first
    };
    if second.end() > unpacked.start {
        return Err(format!("it has to begin at {:#x} or behind that, by --image-base", second.end()).into());
    }
    // The table of them comes first, as it has to.
    let mut headers = vec![Header {
        kind: PT_PHDR,
        flags: PF_R,
        offset: EHDR as u64,
        address: EHDR as u64,
        in_file: 0,
        in_memory: 0,
        align: 8,
    }];
    headers.extend([first, second, third]);
    for header in unpacked.headers.iter().filter(|header| ![PT_LOAD, PT_PHDR].contains(&header.kind)) {
        // Not in the file. That of PT_TLS says how much the libc copies from memory.
        headers.push(Header { offset: 0, ..*header });
    }
    let table = headers.len() * PHDR;
    (headers[0].in_file, headers[0].in_memory) = (table as u64, table as u64);
    if EHDR + table > STUB {
        return Err("it has more program headers than the stub leaves room for".into());
    }

    let mut file = unpacked.header.to_vec();
    file[24..32].copy_from_slice(&(STUB as u64).to_le_bytes());
    file[32..40].copy_from_slice(&(EHDR as u64).to_le_bytes());
    // There is no table of sections: its offset, and what there is of it.
    file[40..48].fill(0);
    file[56..58].copy_from_slice(&u16::try_from(headers.len())?.to_le_bytes());
    file[60..64].fill(0);
    for header in headers {
        header.write(&mut file);
    }
    file.resize(STUB, 0);
    file.extend(stub);
    file.extend(sum.to_le_bytes());
    file.extend(&plan);

    // As the stub does it.
    let mut image = vec![0; unpacked.image.len()];
    inflate::inflate(&plan[size_of::<Plan>() - 8..], &mut image).ok_or("it does not unpack")?;
    operands::to_relative(&mut image[code.0 as usize..code.1 as usize]);
    if image != unpacked.image {
        return Err("it unpacks to something else".into());
    }
    Ok(file)
}

fn main() -> Result<()> {
    let [stub, unpacked, packed] =
        <[_; 3]>::try_from(args_os().skip(1).collect::<Vec<_>>()).map_err(|_| "usage: pack STUB UNPACKED PACKED")?;
    let (stub, unpacked, packed) = (Path::new(&stub), Path::new(&unpacked), Path::new(&packed));
    let named = |path: &Path, error: Box<dyn Error>| format!("{}: {error}", path.display());
    let stub = fs::read(stub).map_err(|error| named(stub, error.into()))?;
    let file = fs::read(unpacked).map_err(|error| named(unpacked, error.into()))?;
    let file = read(&file).and_then(|binary| pack(&stub, &binary)).map_err(|error| named(unpacked, error))?;
    fs::write(packed, file).map_err(|error| named(packed, error.into()))?;
    fs::set_permissions(packed, PermissionsExt::from_mode(0o755)).map_err(|error| named(packed, error.into()))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is packed here is unpacked there, whatever it is.
    fn packed(bytes: &[u8], blocks: usize) -> Vec<u8> {
        let mut packed = Vec::new();
        let options = zopfli::Options { maximum_block_splits: blocks as u16, ..Default::default() };
        zopfli::compress(options, zopfli::Format::Deflate, bytes, &mut packed).unwrap();
        packed.resize(packed.len() + PADDING, 0);
        packed
    }

    fn random(state: &mut u64) -> u8 {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (*state >> 56) as u8
    }

    #[test]
    fn what_is_packed_comes_back() {
        let mut state = 1;
        for (length, kinds) in [(0, 1), (1, 1), (3, 2), (1_000, 1), (5_000, 3), (40_000, 40), (20_000, 256)] {
            let bytes: Vec<u8> = (0..length).map(|_| (u32::from(random(&mut state)) % kinds) as u8).collect();
            for blocks in [1, 15] {
                let mut image = vec![0xaa; bytes.len()];
                assert_eq!(
                    inflate::inflate(&packed(&bytes, blocks), &mut image),
                    Some(()),
                    "{length} of {kinds} kinds"
                );
                assert!(image == bytes);
            }
        }
    }

    #[test]
    fn what_is_damaged_or_of_another_size_is_refused_and_does_no_harm() {
        let mut state = 7;
        let bytes: Vec<u8> = (0..3_000).map(|_| random(&mut state) % 20).collect();
        let right = packed(&bytes, 1);
        for size in [bytes.len() - 1, bytes.len() + 1] {
            assert_eq!(inflate::inflate(&right, &mut vec![0; size]), None);
        }
        for end in 0..right.len() - PADDING - 1 {
            // It is cut, and reads zeros behind that or nothing.
            let mut image = vec![0; bytes.len()];
            assert!(inflate::inflate(&right[..end], &mut image).is_none() || image == bytes);
        }
        for _ in 0..20_000 {
            let mut wrong = right.clone();
            let at = (usize::from(random(&mut state)) << 8 | usize::from(random(&mut state))) % (right.len() - PADDING);
            wrong[at] ^= 1 << (random(&mut state) % 8);
            let _ = inflate::inflate(&wrong, &mut vec![0; bytes.len()]);
        }
    }

    #[test]
    fn the_sum_tells_any_damaged_byte() {
        let bytes: Vec<u8> = (0..=255).collect();
        let right = plan::sum(&bytes);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1 << bit;
                assert_ne!(plan::sum(&wrong), right);
            }
        }
    }

    #[test]
    fn what_is_no_static_position_independent_binary_is_refused() {
        let refused = |file: &[u8]| read(file).err().expect("it is refused").to_string();
        assert!(refused(b"").contains("shorter"));
        assert!(refused(&[0; 64]).contains("no ELF file"));
        let mut file = [0; 64];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[18] = EM_X86_64 as u8;
        assert!(refused(&file).contains("position independent"));
        file[16] = ET_DYN as u8;
        file[32] = 64;
        file[56] = 1;
        assert!(refused(&file).contains("no program headers"));
        let mut with_interpreter = file.to_vec();
        with_interpreter.resize(64 + PHDR, 0);
        with_interpreter[64] = PT_INTERP as u8;
        assert!(refused(&with_interpreter).contains("not static"));
    }
}
