//! Packs a static binary into one that unpacks itself when it is started, as the image of a kernel does.
//!
//! ```text
//! pack STUB UNPACKED PACKED
//! ```
//!
//! The first segment of the unpacked binary, which holds the code and what is only read, is packed. All else stays as it is.
//! The packed file is a static-pie ELF executable with these segments to load:
//!
//! | segment | rights | offset in the file | address |
//! | --- | --- | --- | --- |
//! | ELF header, program headers, stub, plan | R E | 0 | 0 |
//! | packed image | R | behind the data | in the page behind that |
//! | nothing: here the image is unpacked | RW | | as in the unpacked binary |
//! | data | RW | one page | as in the unpacked binary |
//!
//! Everything has the address that it has in the unpacked binary, which is linked to leave room before it: nothing in it
//! has to be moved, and the other program headers stay true. So whoever finds them by way of the auxiliary vector, such
//! as the start of the libc, finds what they tell of. The data lies at a page in the file, as in memory: the stub
//! nearly fills the one before.

mod inflate;
mod operands;
mod plan;

use std::env::args_os;
use std::error::Error;
use std::fs;
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
    /// The first segment, and what the file has of it.
    fixed: Header,
    image: &'a [u8],
    /// The second.
    data: Header,
    content: &'a [u8],
    /// The program headers of other kinds.
    others: Vec<Header>,
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
    let table = file.get(table..).and_then(|rest| rest.get(..count * PHDR)).ok_or("its program headers are cut off")?;
    let (loaded, others): (Vec<_>, Vec<_>) =
        table.as_chunks().0.iter().map(Header::read).partition(|header| header.kind == PT_LOAD);
    if others.iter().any(|header| header.kind == PT_INTERP) {
        return Err("it is not static".into());
    }
    let [fixed, data] = loaded[..] else { return Err("it has not two segments".into()) };
    if (fixed.flags, data.flags) != (PF_R | PF_X, PF_R | PF_W) {
        return Err("its segments are not one that is executed and one that is written".into());
    }
    if fixed.in_file != fixed.in_memory {
        return Err("its first segment is not all in the file".into());
    }
    if !fixed.address.is_multiple_of(PAGE) || !data.address.is_multiple_of(PAGE) || fixed.end() > data.address {
        return Err("its segments do not begin at pages of their own".into());
    }
    let content = |segment: Header| {
        let begin = usize::try_from(segment.offset).ok()?;
        file.get(begin..begin.checked_add(usize::try_from(segment.in_file).ok()?)?)
    };
    let image = content(fixed).ok_or("its first segment is cut off")?;
    let content = content(data).ok_or("its second segment is cut off")?;
    let within = |header: &Header| header.in_file == 0 || (data.address..data.end()).contains(&header.address);
    let others: Vec<_> = others.into_iter().filter(|header| header.kind != PT_PHDR).collect();
    if !others.iter().all(within) {
        return Err("a program header is about what is packed".into());
    }
    Ok(Unpacked { header, fixed, image, data, content, others })
}

/// The packed file.
fn pack(stub: &[u8], unpacked: &Unpacked) -> Result<Vec<u8>> {
    let Unpacked { fixed, image, data, .. } = unpacked;
    let entry = u64::from_le_bytes(at(unpacked.header, 24));
    // The start files come first, and behind them is nothing but code.
    let code = usize::try_from(entry.wrapping_sub(fixed.address))?;
    let mut filtered = image.to_vec();
    operands::to_absolute(filtered.get_mut(code..).ok_or("it starts outside of its first segment")?);
    let mut packed = Vec::new();
    zopfli::compress(zopfli::Options::default(), zopfli::Format::Deflate, &filtered[..], &mut packed)?;
    packed.resize((packed.len() + PADDING).next_multiple_of(8), 0);
    unpacks(&packed, code, image)?;

    let data = Header { offset: PAGE, ..*data };
    let packed_at = data.offset + data.in_file.next_multiple_of(8);
    let packed_size = packed.len() as u64;
    let second = Header {
        kind: PT_LOAD,
        flags: PF_R,
        offset: packed_at,
        address: PAGE + packed_at % PAGE,
        in_file: packed_size,
        in_memory: packed_size,
        align: PAGE,
    };
    if second.end() > fixed.address {
        return Err(
            format!("it has to be linked to begin at {:#x} or higher", second.end().next_multiple_of(PAGE)).into()
        );
    }
    let mut content = unpacked.content.to_vec();
    content.resize(content.len().next_multiple_of(8), 0);
    let mut plan = Vec::new();
    for field in [
        data.address,
        content.len() as u64,
        second.address,
        packed_size,
        fixed.address,
        fixed.in_file,
        code as u64,
        entry,
    ] {
        plan.extend(field.to_le_bytes());
    }
    let sum = [&plan, &content, &packed].into_iter().fold(0, |sum, part| plan::sum(sum, part)).to_le_bytes();
    assert_eq!(sum.len() + plan.len(), size_of::<Plan>());
    let end = (STUB + stub.len() + size_of::<Plan>()) as u64;
    if end > PAGE {
        return Err("the stub does not fit into one page with the headers".into());
    }
    let first = Header { flags: PF_R | PF_X, offset: 0, address: 0, in_file: end, in_memory: end, ..second };
    let pages = fixed.in_memory.next_multiple_of(PAGE);
    let third = Header { flags: PF_R | PF_W, offset: 0, in_file: 0, in_memory: pages, ..*fixed };
    let count = 5 + unpacked.others.len();
    let size = (count * PHDR) as u64;
    let (offset, address) = (EHDR as u64, EHDR as u64);
    let table = Header { kind: PT_PHDR, flags: PF_R, offset, address, in_file: size, in_memory: size, align: 8 };
    let others = unpacked.others.iter().map(|header| match header.in_file {
        0 => *header,
        _ => Header { offset: data.offset + (header.address - data.address), ..*header },
    });

    let mut file = unpacked.header.to_vec();
    file[24..32].copy_from_slice(&(STUB as u64).to_le_bytes());
    file[32..40].copy_from_slice(&(EHDR as u64).to_le_bytes());
    // There is no table of sections: neither its offset, nor how many there are and which has their names.
    file[40..48].fill(0);
    file[56..58].copy_from_slice(&u16::try_from(count)?.to_le_bytes());
    file[60..64].fill(0);
    for header in [table, first, second, third, data].into_iter().chain(others) {
        header.write(&mut file);
    }
    if file.len() > STUB {
        return Err("it has more program headers than the stub leaves room for".into());
    }
    // Each of these where the headers say.
    file.resize(STUB, 0);
    file.extend(stub);
    file.extend(sum);
    file.extend(plan);
    file.resize(usize::try_from(data.offset)?, 0);
    file.extend(content);
    file.extend(packed);
    Ok(file)
}

/// That the stub will unpack the image, and nothing else.
fn unpacks(packed: &[u8], code: usize, image: &[u8]) -> Result<()> {
    let mut unpacked = vec![0; image.len()];
    inflate::inflate(packed, &mut unpacked).ok_or("the decoder cannot read what was packed")?;
    operands::to_relative(&mut unpacked[code..]);
    if unpacked != image { Err("it unpacks to something else".into()) } else { Ok(()) }
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
        let right = plan::sum(0, &bytes);
        for at in 0..bytes.len() {
            for bit in 0..8 {
                let mut wrong = bytes.clone();
                wrong[at] ^= 1 << bit;
                assert_ne!(plan::sum(0, &wrong), right);
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
        assert!(refused(&file).contains("cut off"));
        let mut with_interpreter = file.to_vec();
        with_interpreter.resize(64 + PHDR, 0);
        with_interpreter[64] = PT_INTERP as u8;
        assert!(refused(&with_interpreter).contains("not static"));
    }

    /// A binary of one segment that is executed, and of one that is written.
    fn binary(flags: [u32; 2], address: [u64; 2]) -> Vec<u8> {
        let mut file = vec![0; EHDR];
        file[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
        file[16..18].copy_from_slice(&ET_DYN.to_le_bytes());
        file[18..20].copy_from_slice(&EM_X86_64.to_le_bytes());
        file[24..32].copy_from_slice(&(address[0] + 512).to_le_bytes());
        file[32] = EHDR as u8;
        file[56] = 3;
        let [fixed, data] = [0, 1].map(|at| Header {
            kind: PT_LOAD,
            flags: flags[at],
            offset: at as u64 * PAGE,
            address: address[at],
            in_file: [PAGE, 100][at],
            in_memory: [PAGE, 1 << 20][at],
            align: PAGE,
        });
        let dynamic =
            Header { kind: 2, offset: data.offset + 16, address: data.address + 16, in_file: 8, in_memory: 8, ..data };
        for header in [fixed, data, dynamic] {
            header.write(&mut file);
        }
        file.resize(PAGE as usize, 0xe8);
        file.resize(PAGE as usize + 100, 7);
        file
    }

    const RIGHTS: [u32; 2] = [PF_R | PF_X, PF_R | PF_W];

    #[test]
    fn the_data_and_what_is_in_it_are_where_they_were_and_no_segment_is_written_and_executed() {
        let file = binary(RIGHTS, [0x20000, 0x21000]);
        let packed = pack(&[0x90; 80], &read(&file).unwrap()).unwrap();
        let count = usize::from(packed[56]);
        let headers: Vec<_> = packed[EHDR..][..count * PHDR].as_chunks().0.iter().map(Header::read).collect();
        let kinds: Vec<_> = headers.iter().map(|header| header.kind).collect();
        assert_eq!(kinds, [PT_PHDR, PT_LOAD, PT_LOAD, PT_LOAD, PT_LOAD, 2]);
        let rights: Vec<_> = headers[1..5].iter().map(|header| header.flags).collect();
        assert_eq!(rights, [PF_R | PF_X, PF_R, PF_R | PF_W, PF_R | PF_W]);
        for pair in headers[1..5].windows(2) {
            assert!(pair[0].end() <= pair[1].address);
        }
        for header in &headers[1..] {
            assert!(header.in_file == 0 || header.offset % PAGE == header.address % PAGE);
            assert!(header.offset + header.in_file <= packed.len() as u64);
        }
        assert_eq!((headers[3].address, headers[3].in_file, headers[3].in_memory), (0x20000, 0, PAGE));
        assert_eq!((headers[4].address, headers[4].in_file, headers[4].in_memory), (0x21000, 100, 1 << 20));
        assert_eq!(packed[headers[4].offset as usize..][..100], [7; 100]);
        assert_eq!((headers[5].address, headers[5].offset), (0x21010, headers[4].offset + 16));
    }

    #[test]
    fn segments_that_the_stub_is_not_made_for_are_refused() {
        let refused = |file: &[u8]| read(file).and_then(|it| pack(&[], &it)).expect_err("it is refused").to_string();
        let address = [0x20000, 0x21000];
        assert!(refused(&binary([PF_R | PF_W | PF_X, PF_R | PF_W], address)).contains("executed"));
        assert!(refused(&binary([PF_R | PF_X, PF_R], address)).contains("executed"));
        assert!(refused(&binary(RIGHTS, [0x20000, 0x20800])).contains("pages of their own"));
        assert!(refused(&binary(RIGHTS, [0, 0x1000])).contains("linked to begin at 0x2000"));
        assert!(refused(&binary(RIGHTS, address)[..PAGE as usize]).contains("second segment is cut off"));
        let stub = vec![0; PAGE as usize - STUB];
        assert!(pack(&stub, &read(&binary(RIGHTS, address)).unwrap()).is_err());
    }
}
