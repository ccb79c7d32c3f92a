// SPDX-License-Identifier: BSD-2-Clause
//
// The functions of stavestat.h; the header says what each does. The compiler compares them with it.

import CStaveStat
import Inspection

// MARK: - Lists

@c @implementation
public func stavestat_list_new() -> OpaquePointer? { OpaquePointer(Unmanaged.passRetained(CList()).toOpaque()) }

@c @implementation
public func stavestat_list_free(_ list: OpaquePointer?) {
  if let list { Unmanaged<CList>.fromOpaque(UnsafeRawPointer(list)).release() }
}

@c @implementation
public func stavestat_fill_process(_ list: OpaquePointer?, _ process: Int32, _ allocator: Int32) -> Int32 {
  fill(list, allocator) { () throws(InspectionError) in try LiveProcess(process: process) }
}

@c @implementation
public func stavestat_fill_core(_ list: OpaquePointer?, _ path: UnsafePointer<CChar>?, _ allocator: Int32) -> Int32 {
  fill(list, allocator) { () throws(InspectionError) in try CoreFile(path: path.map { String(cString: $0) } ?? "") }
}

private func fill(_ list: OpaquePointer?, _ allocator: Int32, _ open: () throws(InspectionError) -> any TargetMemory) -> Int32 {
  guard let list = CList.from(list) else { return -1 }
  return list.fill { () throws(StatisticsError) in
    guard let allocator = StatisticsAllocator(allocator) else { throw list.list.fail(StatisticsError(.process, "there is no allocator \(allocator)")) }
    try list.list.fill(opening: open, allocator)
  }
}

@c @implementation
public func stavestat_fill_stream(_ list: OpaquePointer?, _ path: UnsafePointer<CChar>?) -> Int32 {
  guard let list = CList.from(list) else { return -1 }
  return list.fill { () throws(StatisticsError) in try list.list.fill(fromFile: path.map { String(cString: $0) } ?? "") }
}

@c @implementation
public func stavestat_fill_bytes(_ list: OpaquePointer?, _ bytes: UnsafeRawPointer?, _ count: Int) -> Int32 {
  guard let list = CList.from(list) else { return -1 }
  let copy = [UInt8](UnsafeRawBufferPointer(start: bytes, count: bytes == nil ? 0 : max(0, count)))
  return list.fill { () throws(StatisticsError) in try list.list.fill(fromStream: copy) }
}

@c @implementation
public func stavestat_error(_ list: OpaquePointer?) -> Int32 { CList.from(list)?.code ?? 0 }

@c @implementation
public func stavestat_message(_ list: OpaquePointer?) -> UnsafePointer<CChar>? { CList.from(list).map { UnsafePointer($0.message.start) } }

// MARK: - Entries

@c @implementation
public func stavestat_first(_ list: OpaquePointer?) -> OpaquePointer? { CList.from(list)?.entry(at: 0) }

@c @implementation
public func stavestat_next(_ entry: OpaquePointer?) -> OpaquePointer? {
  CEntry.from(entry).flatMap { $0.list.entry(at: $0.place + 1) }
}

@c @implementation
public func stavestat_find(_ list: OpaquePointer?, _ allocator: Int32, _ name: UnsafePointer<CChar>?, _ instance: UInt32) -> OpaquePointer? {
  guard let list = CList.from(list), let allocator = StatisticsAllocator(allocator), let name else { return nil }
  guard let found = list.list.find(allocator, String(cString: name), instance: Int(instance)) else { return nil }
  return CEntry.of(found).flatMap { list.entry(at: $0.place) }
}

@c @implementation
public func stavestat_name(_ entry: OpaquePointer?) -> UnsafePointer<CChar>? { CEntry.from(entry).map { UnsafePointer($0.name.start) } }

@c @implementation
public func stavestat_label(_ entry: OpaquePointer?) -> UnsafePointer<CChar>? { CEntry.from(entry).map { UnsafePointer($0.label.start) } }

@c @implementation
public func stavestat_allocator(_ entry: OpaquePointer?) -> Int32 { CEntry.from(entry).map { Int32($0.entry.allocator.rawValue) } ?? 0 }

@c @implementation
public func stavestat_instance(_ entry: OpaquePointer?) -> UInt32 { CEntry.from(entry).map { UInt32(clamping: $0.entry.instance) } ?? 0 }

@c @implementation
public func stavestat_shares_name(_ entry: OpaquePointer?) -> Int32 { CEntry.from(entry)?.entry.sharesName ?? false ? 1 : 0 }

// MARK: - Figures

@c @implementation
public func stavestat_value(_ entry: OpaquePointer?, _ what: Int32) -> UInt64 { CEntry.from(entry)?.entry.value(what) ?? 0 }

@c @implementation
public func stavestat_cpus(_ entry: OpaquePointer?) -> UInt32 { CEntry.from(entry).map { UInt32(clamping: $0.entry.figures.cpus.count) } ?? 0 }

@c @implementation
public func stavestat_cpu_value(_ entry: OpaquePointer?, _ cpu: UInt32, _ what: Int32) -> UInt64 {
  CEntry.from(entry)?.entry.cpu(Int(cpu)).value(what) ?? 0
}

@c @implementation
public func stavestat_class_size(_ bit: UInt32) -> UInt64 { bit < 59 ? 16 << UInt64(bit) : 0 }

// MARK: - Slots

@c @implementation
public func stavestat_pointer(_ entry: OpaquePointer?, _ slot: UInt32) -> UnsafeMutableRawPointer? { CEntry.from(entry)?.slots.pointer(slot) }

@c @implementation
public func stavestat_set_pointer(_ entry: OpaquePointer?, _ slot: UInt32, _ pointer: UnsafeMutableRawPointer?) -> Int32 {
  CEntry.from(entry)?.slots.set(slot, pointer: pointer) ?? -1
}

@c @implementation
public func stavestat_number(_ entry: OpaquePointer?, _ slot: UInt32) -> UInt64 { CEntry.from(entry)?.slots.number(slot) ?? 0 }

@c @implementation
public func stavestat_set_number(_ entry: OpaquePointer?, _ slot: UInt32, _ number: UInt64) -> Int32 {
  CEntry.from(entry)?.slots.set(slot, number: number) ?? -1
}

@c @implementation
public func stavestat_cpu_pointer(_ entry: OpaquePointer?, _ cpu: UInt32, _ slot: UInt32) -> UnsafeMutableRawPointer? {
  CEntry.from(entry)?.slots(ofCPU: cpu).pointer(slot)
}

@c @implementation
public func stavestat_set_cpu_pointer(_ entry: OpaquePointer?, _ cpu: UInt32, _ slot: UInt32, _ pointer: UnsafeMutableRawPointer?) -> Int32 {
  CEntry.from(entry)?.changeSlots(ofCPU: cpu) { $0.set(slot, pointer: pointer) } ?? -1
}

@c @implementation
public func stavestat_cpu_number(_ entry: OpaquePointer?, _ cpu: UInt32, _ slot: UInt32) -> UInt64 {
  CEntry.from(entry)?.slots(ofCPU: cpu).number(slot) ?? 0
}

@c @implementation
public func stavestat_set_cpu_number(_ entry: OpaquePointer?, _ cpu: UInt32, _ slot: UInt32, _ number: UInt64) -> Int32 {
  CEntry.from(entry)?.changeSlots(ofCPU: cpu) { $0.set(slot, number: number) } ?? -1
}
