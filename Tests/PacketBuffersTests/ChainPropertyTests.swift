// SPDX-License-Identifier: BSD-2-Clause
//
// Random operations on a few chains at once, each beside a plain array of bytes. Chains share storage by copies and splits; what is
// written through one, where it says that it may be written, is not seen through another. In debug builds requests are refused now
// and then: an operation that fails leaves what its table says.

import Testing

@testable import PacketBuffers
@testable import TestSupport
@testable import Zones

extension OnRoot {
  @Suite struct ChainPropertyTests {
    final class Subject {
      var chain: MbufPointer
      var model: [UInt8]
      init(_ chain: MbufPointer, _ model: [UInt8]) { (self.chain, self.model) = (chain, model) }
    }

    /// All chains: sound, and their bytes the model's.
    private func check(_ subjects: [Subject], _ what: String) {
      for subject in subjects where !subject.chain.sanity() || !subject.chain.holds(subject.model) {
        Issue.record("\(what): a chain of \(subject.model.count) bytes is not as it should be (STAVE_SEED=\(Stage.seed))")
        subject.model = subject.chain.content
      }
    }

    @Test func `random operations on chains that share do what they do to arrays of bytes`() {
      var generator = Generator(330)
      var subjects: [Subject] = []
      for step in 0..<Stage.steps(2500, soak: 1_000_000) {
        func below(_ bound: Int) -> Int { generator.below(max(1, bound)) }
        if subjects.isEmpty || subjects.count < 8 && below(12) == 0 {
          let bytes = randomBytes(below(4) == 0 ? below(12_000) : below(600), &generator)
          subjects.append(Subject(makeChain(bytes, isPacket: below(4) > 0, &generator), bytes))
        }
        let index = below(subjects.count)
        let subject = subjects[index], chain = subject.chain, total = subject.model.count
        let offset = below(total + 1), count = below(total - offset + 1)
        let other = subjects[below(subjects.count)]
        #if STAVE_CHECK_LOCKS
        packets.refusing = below(8) == 0 ? 1 + below(4) : 0
        let armed = packets.refusing > 0
        #else
        let armed = false
        #endif
        // Whether something was refused, asked when the operation is over.
        var wasRefused: Bool { armed && packets.refusing == 0 }
        /// The operation's answer is the chain now, or there is none; `isPossible` without a refusal.
        func replace(_ new: MbufPointer?, isPossible: Bool = true) {
          if let new {
            subject.chain = new
            if !isPossible { Issue.record("done, though it cannot be") }
          } else {
            if isPossible && !wasRefused { Issue.record("refused for no reason") }
            subjects.remove(at: index)
          }
        }
        func add(_ new: MbufPointer?, _ model: [UInt8], isPossible: Bool = true) {
          if let new {
            subjects.append(Subject(new, model))
            if !isPossible { Issue.record("done, though it cannot be") }
          } else if isPossible && !wasRefused {
            Issue.record("refused for no reason")
          }
        }
        let operation = below(26)
        switch operation {
        case 0:
          let count = below(200), fits = count <= (chain.hasHeader ? 168 : 224) || chain.leadingSpace >= count
          let new = chain.prepend(count)
          if let new {
            let bytes = randomBytes(count, &generator)
            if count > 0 { new.pointee.data.copyMemory(from: bytes, byteCount: count) }
            subject.model = bytes + subject.model
          }
          replace(new, isPossible: fits)
        case 1:
          let count = below(3) == 0 ? below(total + 10) : below(169)
          let new = chain.pullUp(count)
          if let new, new.length < count { Issue.record("not pulled up") }
          // Within what one mbuf has room for it can be done.
          replace(new, isPossible: count <= total && (count <= 168 || new != nil))
        case 2:
          let leading = below(168), count = below(169 - leading)
          let new = chain.copyUp(count, leading: leading)
          if let new, new.length < count || new.leadingSpace != leading { Issue.record("not copied up") }
          replace(new, isPossible: count <= total)
        case 3:
          let atStart = below(2) == 0, before = Array(subject.model[..<offset])
          let place = chain.pullDown(offset, count, atStart: atStart)
          replace(place.map { _ in chain }, isPossible: count <= 2048)
          if let place {
            if place.mbuf.length < place.offset + count || atStart && place.offset > 0 { Issue.record("not pulled down") }
            if place.mbuf.isWritable && count > 0 {
              let bytes = randomBytes(count, &generator)
              (place.mbuf.pointee.data + place.offset).copyMemory(from: bytes, byteCount: count)
              subject.model.replaceSubrange(offset..<offset + count, with: bytes)
            }
            if !chain.content.starts(with: before) { Issue.record("what was before the range has changed") }
          }
        case 4, 5:
          let shape = chain.shape, isLast = !chain.hasHeader && chain.locate(offset).map { $0.mbuf.pointee.next == nil && $0.offset == $0.mbuf.length } ?? true
          let tail = chain.split(offset)
          if tail != nil {
            add(tail, Array(subject.model[offset...]))
            subject.model = Array(subject.model[..<offset])
          } else if !wasRefused && !isLast || chain.shape != shape {
            Issue.record("a split that failed, for no reason or not without traces")
          }
        case 6, 7:
          let new = chain.copy(offset, count)
          if count > 0 { add(new, Array(subject.model[offset..<offset + count])) } else { #expect(new == nil) }
        case 8:
          add(chain.copyPacket(), subject.model)
        case 9:
          let new = chain.duplicate()
          add(new, subject.model, isPossible: chain.hasHeader)
          if let new, !new.isAllWritable { Issue.record("a duplicate that cannot be written") }
        case 10:
          let shape = chain.shape
          if let new = chain.defragment() {
            subject.chain = new
          } else if !wasRefused || chain.shape != shape {
            Issue.record("a defragmentation that failed, for no reason or not without traces")
          }
        case 11:
          let most = 1 + below(6)
          if let new = chain.collapse(most), new != chain || chain.mbufs.count > most { Issue.record("not collapsed") }
        case 12:
          let new = chain.unshare()
          replace(new)
          if let new, !new.isAllWritable { Issue.record("still shared") }
        case 13:
          chain.trim(by: count)
          subject.model.removeFirst(count)
        case 14:
          chain.trim(by: -count)
          subject.model.removeLast(count)
        case 15, 16:
          guard other !== subject, total + other.model.count < 30_000 else { break }
          if chain.hasHeader && other.chain.hasHeader {
            chain.concatenatePacket(other.chain)
          } else {
            chain.concatenate(other.chain)
            if chain.hasHeader { chain.fixHeader() }
          }
          subject.model += other.model
          subjects.removeAll { $0 === other }
        case 17, 18:
          let place = below(total + 300), bytes = randomBytes(below(600), &generator)
          let canAll = chain.isAllWritable
          let done = chain.copyBack(place, bytes.count, from: bytes)
          if done < bytes.count && !wasRefused && canAll { Issue.record("not all copied back") }
          let end = done > 0 || !bytes.isEmpty ? place + done : place
          let length = chain.chainLength
          if length > subject.model.count { subject.model += [UInt8](repeating: 0, count: length - subject.model.count) }
          if done > 0 { subject.model.replaceSubrange(place..<end, with: bytes[..<done]) }
        case 19:
          let bytes = randomBytes(below(900), &generator)
          let isWhole = chain.append(bytes.count, from: bytes)
          let length = chain.chainLength - total
          if isWhole != (length == bytes.count) || !isWhole && !wasRefused { Issue.record("an append that lies") }
          subject.model += bytes[..<length]
        case 20:
          // Where a chain says that it may be written.
          for mbuf in chain.mbufs where mbuf.isWritable && mbuf.length > 0 {
            let place = below(mbuf.length)
            var before = 0
            for earlier in chain.mbufs { if earlier == mbuf { break } else { before += earlier.length } }
            let byte = UInt8(truncatingIfNeeded: generator.next())
            (mbuf.pointee.data + place).storeBytes(of: byte, as: UInt8.self)
            subject.model[before + place] = byte
          }
        case 21:
          let mbufs = chain.mbufs, mbuf = mbufs[below(mbufs.count)]
          mbuf.flags.insert(.readOnly)
        case 22:
          guard chain.hasHeader else { break }
          let id = UInt16(below(10)), tag = chain.findTag(id: id, cookie: 1)
          let new = tag.map { packets.copyTag($0) } ?? packets.getTag(id: id, cookie: 1, length: below(100))
          if let new { chain.prependTag(new) }
        case 23, 24:
          // What no chain has: refused as its operation says.
          let far = [Int.min, -30, -1, 1 << 31, 1 << 40, 1 << 62, .max][below(7)]
          switch below(8) {
          case 0: replace(chain.prepend(far), isPossible: false)
          case 1: replace(chain.pullUp(far), isPossible: false)
          case 2: replace(below(2) == 0 ? chain.copyUp(far, leading: 0) : chain.copyUp(4, leading: far), isPossible: false)
          case 3: replace((below(2) == 0 ? chain.pullDown(far, 4) : chain.pullDown(offset, far)).map { _ in chain }, isPossible: false)
          case 4:
            chain.trim(by: far)
            if far < 0 { subject.model.removeLast(Int(min(far.magnitude, UInt(total)))) } else { subject.model.removeFirst(min(far, total)) }
          default:
            let shape = chain.shape
            let isRefused =
              chain.split(far) == nil && chain.copyBack(far, 4, from: shape) == 0 && chain.copyBack(offset, far, from: shape) == 0
              && !chain.append(far, from: shape) && (far < 0 || chain.locate(far) == nil) && packets.getChain(far, after: chain) == nil
            if !isRefused || chain.shape != shape { Issue.record("a chain of \(far) bytes") }
          }
        default:
          guard below(3) == 0 else { break }
          chain.freeChain()
          subjects.removeAll { $0 === subject }
        }
        #if STAVE_CHECK_LOCKS
        packets.refusing = 0
        #endif
        guard Stage.checks(step) else { continue }
        check(subjects, "operation \(operation) in step \(step)")
      }
      for subject in subjects { subject.chain.freeChain() }
      #expect(Lent.out == 0, "STAVE_SEED=\(Stage.seed)")
      let left = Out.now
      #expect(left.items.allSatisfy { $0 == 0 }, "\(left) (STAVE_SEED=\(Stage.seed))")
    }
  }
}
