// SPDX-License-Identifier: BSD-2-Clause
//
// What the page says of each group of cases before its figures.

extension Group {
  /// Of a cost.
  var unit: String {
    switch self {
    case .lookup: "ns for an operation, by updates in a hundred"
    case .relay: "ns of CPU time for a datagram, or for a MB"
    case .walk: "ns for an item"
    case .pair: "ns for a pair"
    default: "ns for an operation"
    }
  }

  var explanation: String {
    switch self {
    case .pair:
      """
      An item is allocated, its first word written, and freed. `stave-zone-swift` is `Zone<Element>.allocate` and `free`, inlined;
      `stave-item` an owned item with its whole value written; `stave-zone-c` `stave_zone_alloc` and `stave_zone_free` of
      libstavezones.so, a call each; `stave` is malloc of libstave.so; `class` makes and releases an instance of a Swift class of so many
      bytes, on glibc's malloc.
      """
    case .walk:
      """
      The first words of 512 items, of the size on the left and aligned to cache lines, are read in an order that nothing can guess: 512
      lines, which the first-level cache would hold if they were spread over its sets. `stave-spread` is a zone with
      `STAVE_ZONE_CACHESPREAD`, `stave-plain` the same without; the others are mallocs, whose blocks are not aligned and, with 16 bytes of
      header, may spread by themselves.
      """
    case .pool:
      """
      One item is put and another got. *near*: 700 items in use at a time, of so many pages of two; *any*: three items of four are in use,
      and any of them is put, so that each operation meets a page's header that no cache of the processor holds: that, and not a search,
      is what grows. By counted steps a pool looks at one page for each operation, and in the tree at no more than 2 log2 of the pages
      (`PoolCostTests`).
      """
    case .lookup:
      """
      A table of 4096 entries. `stave-smr` reads within a section, without a lock; an update puts a new entry in place and frees the old
      one for reuse when no reader is left. `rwlock` and `mutex` change entries in place under their lock. Wall time over all operations
      of all threads.
      """
    case .packet:
      """
      Packets of 512 bytes in buffers of 2 KiB, made and freed within what is measured. `stave-mbuf` is stave_mbuf.h, `stave-packet`
      Swift's `Packet`, `bytebuffer` SwiftNIO's, `stave-bytebuffer` that on Stave's packet buffers, `rte_mbuf` DPDK's, whose pool of
      16,383 is made before, belongs to one thread here and has neither limits nor accounts. A ByteBuffer has no room before its bytes: to
      prepend is to copy, and *pullup* is the same. *hold* appends to 8,000 packets before it frees the first.
      """
    case .relay:
      """
      `Examples/relay-swift` between an iperf3 client and server on the same machine: datagrams of 512 bytes, as many as the client can
      (*udp-flood*) and 80 Mbit/s (*udp-paced*), and a stream. The cost is the relay's own CPU time, mostly the kernel's for sockets, over
      what came through; packets per second depend on who gets the CPUs, since client and server need more of them than the relay.
      """
    default: ""
    }
  }
}
