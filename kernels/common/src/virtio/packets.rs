//! The few packets that a host needs to be known and to be answered.

use alloc::vec::Vec;

/// What QEMU's user network gives its first guest, and what its gateway is.
pub const OUR_ADDRESS: [u8; 4] = [10, 0, 2, 15];
pub const GATEWAY: [u8; 4] = [10, 0, 2, 2];

type Mac = [u8; 6];
const ARP: [u8; 2] = [0x08, 0x06];
const IPV4: [u8; 2] = [0x08, 0x00];
const ICMP: u8 = 1;

fn frame(to: Mac, from: Mac, kind: [u8; 2], payload: &[u8]) -> Vec<u8> {
    let mut frame = [&to[..], &from, &kind, payload].concat();
    // The shortest that Ethernet has, without its checksum.
    frame.resize(frame.len().max(60), 0);
    frame
}

/// Asks who has the gateway's address (RFC 826).
pub fn arp_request(from: Mac) -> Vec<u8> {
    // Ethernet and IPv4, addresses of six and four bytes, a request.
    let head = [0, 1, 8, 0, 6, 4, 0, 1];
    frame([0xff; 6], from, ARP, &[&head[..], &from, &OUR_ADDRESS, &[0; 6], &GATEWAY].concat())
}

/// The gateway's hardware address, if this is its answer to us.
pub fn arp_reply(frame: &[u8], us: Mac) -> Option<Mac> {
    let (head, body) = frame.split_at_checked(14)?;
    let expected = [0, 1, 8, 0, 6, 4, 0, 2];
    let gateway: Mac = body.get(8..14)?.try_into().ok()?;
    let right = head[..6] == us
        && head[12..] == ARP
        && body.get(..8)? == expected
        && body.get(14..18)? == GATEWAY
        && body.get(18..24)? == us
        && body.get(24..28)? == OUR_ADDRESS;
    right.then_some(gateway)
}

/// The ones' complement of the ones' complement sum (RFC 1071); zero where the sum is right already.
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let sum: u32 = words.sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    !((folded & 0xffff) + (folded >> 16)) as u16
}

/// An echo request (RFC 792) to the gateway with this payload.
pub fn ping(gateway: Mac, from: Mac, sequence: u16, payload: &[u8]) -> Vec<u8> {
    let [high, low] = sequence.to_be_bytes();
    let mut icmp = [&[8, 0, 0, 0, 0x10, 0xa4, high, low], payload].concat();
    let sum = checksum(&icmp);
    icmp[2..4].copy_from_slice(&sum.to_be_bytes());
    let [length_high, length_low] = (20 + icmp.len() as u16).to_be_bytes();
    let head = [0x45, 0, length_high, length_low, high, low, 0x40, 0, 64, ICMP, 0, 0];
    let mut ip = [&head[..], &OUR_ADDRESS, &GATEWAY].concat();
    let sum = checksum(&ip);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    frame(gateway, from, IPV4, &[ip, icmp].concat())
}

/// Whether this is the gateway's answer to [`ping`], checksums included.
pub fn is_pong(frame: &[u8], us: Mac, sequence: u16, payload: &[u8]) -> bool {
    let answer = || {
        let (head, packet) = frame.split_at_checked(14)?;
        let (ip, _) = packet.split_at_checked(20)?;
        let length = usize::from(u16::from_be_bytes([ip[2], ip[3]]));
        let icmp = packet.get(20..length)?;
        let [high, low] = sequence.to_be_bytes();
        let right = head[..6] == us
            && head[12..] == IPV4
            && (ip[0], ip[9]) == (0x45, ICMP)
            && (ip[12..16] == GATEWAY && ip[16..] == OUR_ADDRESS)
            && checksum(ip) == 0
            && checksum(icmp) == 0
            && icmp.get(..2)? == [0, 0]
            && icmp.get(4..8)? == [0x10, 0xa4, high, low]
            && icmp.get(8..)? == payload;
        Some(right)
    };
    answer().unwrap_or(false)
}
