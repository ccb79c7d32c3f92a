// SPDX-License-Identifier: BSD-2-Clause
//
// # PacketBuffers
//
// Network data in pieces that are passed on, split, put together and shared without copying: mbuf(9) of the BSDs in user space.
//
// Words
//   mbuf       256 bytes: a header, and data inside or a description of storage elsewhere (Mbuf)
//   cluster    2 KiB, a page, 9 KiB or 16 KiB for an mbuf's data
//   storage    a cluster or what somebody has lent, shared by any number of mbufs (ExternalStorage)
//   chain      mbufs one behind the other, through `next`: their data is one sequence of bytes
//   packet     a chain whose first mbuf has a packet header, which knows the length of the whole
//
//   packet zone ──► mbuf keg          a hit is an mbuf that has its cluster: one cache, not two
//        └────────► cluster zone
//   mbuf zone ────► mbuf keg          page, 9 KiB, 16 KiB: a zone each
//
// A chain belongs to whoever holds its first mbuf; there is no lock in it. What several chains share is storage, counted in the mbuf
// that had it first. Shared storage is read-only for all until one is left: `isWritable`, and room before and behind the data,
// say so, and no operation here changes bytes that are not writable. Free routines of lent storage run at the last free, on whatever
// thread that is.
//
// Who frees what when memory is refused is part of each operation, and is what callers get wrong most often. One that returns a new
// first mbuf frees the whole chain and answers nil (`prepend`, `pullUp`, `copyUp`, `pullDown`, `unshare`), but for two, which answer
// nil and leave the chain whole: `defragment`, `collapse`. One that makes a second chain frees what there is of that and leaves the
// first as it was: `split`, `copy`, `copyPacket`, `duplicate`, `getChain`. `append` and `copyBack` keep what they have done.
//
//   mbuf(9)                      here                       mbuf(9)                  here
//   m_get, m_gethdr              get, getHeader             m_prepend, M_PREPEND     prependMbuf, prepend
//   m_getcl                      getPacket                  m_pullup, m_copyup       pullUp, copyUp
//   m_clget, m_cljset            attachCluster              m_pulldown               pullDown
//   m_cljget, m_getjcl           getCluster, getJumbo       m_split                  split
//   m_get2                       getFitting                 m_copym, m_copypacket    copy, copyPacket
//   m_getm2, m_getm              getChain                   m_dup                    duplicate
//   m_free, m_freem              free, freeChain            m_defrag, m_collapse     defragment, collapse
//   m_extadd, m_extaddref        lend                       m_unshare                unshare
//   mb_dupcl                     share                      m_adj                    trim
//   M_WRITABLE                   isWritable                 m_cat, m_catpkt          concatenate, concatenatePacket
//   M_LEADINGSPACE, M_TRAILING…  leadingSpace, trailing…    m_copydata, m_apply      copyData, apply
//   M_ALIGN, M_START, M_SIZE     align, roomStart, room     m_getptr, m_length       locate, chainLength
//   m_move_pkthdr, m_dup_pkthdr  moveHeader, copyHeader     m_fixhdr                 fixHeader
//   m_demote                     demote                     m_copyback, m_append     copyBack, append
//   m_sanity                     sanity, checkInvariants    m_devget                 getCopy
//   m_tag_…                      PacketTags                 m_uiotombuf, m_mbuftouio gather, scatter
//   mbufq                        PacketQueue                netstat -m               PacketCounts
//   M_NOWAIT, M_WAITOK           .noWait, .wait             MLEN, MHLEN, MINCLSIZE   Mbuf.room, …WithHeader, leastForCluster
//
// Where they differ, on purpose: `pullUp` copies nothing where the bytes are in one piece already (T20); `split` leaves everything as
// it was when it fails (T7); `getChain` knows a length of 0 (T8); what is read-only is so inside an mbuf, too (T15), and `copyBack`
// stops there and says how far it came; a mark of a record's end stays with the last byte.
//
// Costs: an mbuf is an item of a zone, an mbuf with a cluster is another, a hit of their caches either. A share is one atomic addition.
//
// Weak points, known: an mbuf whose storage others share stays until the last of them goes, though its owner has freed it; bytes of a
// tag are not charged to a limit of their malloc type.

import Accounting
import CPlatform
import Pages
import Primitives
import Zones

/// What packet buffers keep in the root.
public struct PacketState: ~Copyable {
  public internal(set) var mbufZone: ZonePointer?
  public internal(set) var packetZone: ZonePointer?
  public internal(set) var clusterZone: ZonePointer?
  public internal(set) var pageZone: ZonePointer?
  public internal(set) var nineZone: ZonePointer?
  public internal(set) var sixteenZone: ZonePointer?
  /// Made when a tag is first asked for.
  public internal(set) var tagType: TypePointer?
  /// Times that the packet zone gave its clusters back; copies and prepends, and pull-ups, that failed.
  public internal(set) var drains: Int64 = 0
  public internal(set) var failedCopies: Int64 = 0
  public internal(set) var failedPullUps: Int64 = 0
  /// 0 unless a thread changes limits; then one more than the forks before this process.
  var limiter: UInt32 = 0
  /// Debug builds: the request from here that is refused; 0 for none.
  var refusedRequest = 0
}

@inline(__always)
public var packets: UnsafeMutablePointer<PacketState> { rootState(PacketState.self, at: RootLayout.packetsOffset) }

extension UnsafeMutablePointer where Pointee == PacketState {
  func noteFailedCopy() { stave_add(&pointee.failedCopies, 1) }
  func noteFailedPullUp() { stave_add(&pointee.failedPullUps, 1) }

  #if STAVE_CHECK_LOCKS
  /// Whether a test wants this request refused.
  var isRefused: Bool {
    guard pointee.refusedRequest > 0 else { return false }
    pointee.refusedRequest -= 1
    return pointee.refusedRequest == 0
  }
  #else
  @inline(__always) var isRefused: Bool { false }
  #endif
}

/// Ends the process with a report where something is not as it must be.
@inline(__always)
func demand(_ isTrue: Bool, _ what: StaticString) {
  if !isTrue { endProcess(what) }
}

@inline(never)
public func endProcess(_ what: StaticString) -> Never {
  var report = Report("packet buffers")
  report.text(what)
  report.text("\n")
  report.stop()
}
