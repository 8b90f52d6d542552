//! A filter for code: what is called and what is pointed at has the same bytes everywhere, so that it is found again.
//!
//! Code for x86_64 has addresses relative to the instruction behind them: calls of one function from two places have
//! nothing in common but the opcode. Counted from the start of the code they have, and with the highest byte first what
//! they have in common with others nearby is next to the opcode.

/// Makes the operands relative to the start of the code.
#[cfg_attr(not(test), allow(dead_code, reason = "the stub only goes the other way"))]
pub fn to_absolute(code: &mut [u8]) {
    each(code, |operand, next| *operand = u32::from_le_bytes(*operand).wrapping_add(next).to_be_bytes());
}

/// Makes them relative to the next instruction again.
pub fn to_relative(code: &mut [u8]) {
    each(code, |operand, next| *operand = u32::from_be_bytes(*operand).wrapping_sub(next).to_le_bytes());
}

/// Changes what may be an operand, given where the next instruction is. Some are none, which costs some bytes and does no
/// harm: the bytes by which they are told are never changed, so both directions find the same.
fn each(code: &mut [u8], change: impl Fn(&mut [u8; 4], u32)) {
    let mut at = 0;
    while let Some(&[first, second]) = code.get(at..).and_then(<[u8]>::first_chunk) {
        let opcode = match (first, second) {
            // CALL and JMP.
            (0xe8 | 0xe9, _) => 1,
            // LEA of an address relative to RIP, and Jcc.
            (0x8d, 0x05 | 0x0d | 0x15 | 0x1d | 0x25 | 0x2d | 0x35 | 0x3d) | (0x0f, 0x80..=0x8f) => 2,
            _ => {
                at += 1;
                continue;
            }
        };
        at += opcode;
        let Some(operand) = code.get_mut(at..).and_then(<[u8]>::first_chunk_mut) else { break };
        at += operand.len();
        change(operand, at as u32);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_of_one_function_from_two_places_become_the_same_bytes() {
        // At 0 and at 5, both to 0x1234.
        let mut code = *b"\xe8\x2f\x12\0\0\xe8\x2a\x12\0\0";
        to_absolute(&mut code);
        assert_eq!(code, *b"\xe8\0\0\x12\x34\xe8\0\0\x12\x34");
        to_relative(&mut code);
        assert_eq!(code, *b"\xe8\x2f\x12\0\0\xe8\x2a\x12\0\0");
    }

    #[test]
    fn whatever_the_bytes_are_they_come_back() {
        let mut state = 1_u64;
        for length in (0..20).chain([1000, 100_000]) {
            let bytes: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    // More often than by chance it is an opcode.
                    b"\xe8\xe9\x8d\x05\x0f\x84\0\xff"
                        .get((state >> 40) as usize % 16)
                        .copied()
                        .unwrap_or((state >> 56) as u8)
                })
                .collect();
            let mut code = bytes.clone();
            to_absolute(&mut code);
            to_relative(&mut code);
            assert!(code == bytes, "{length} bytes");
        }
    }
}
