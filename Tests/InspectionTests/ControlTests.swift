// SPDX-License-Identifier: BSD-2-Clause
//
// The control tree and the metrics of a snapshot: names, types, what can be set, what is left out.

import Heap
import Testing

@testable import Exporters
@testable import Inspection
@testable import TestSupport

@Suite struct ControlTests {
  static func snapshot(_ names: String...) -> Snapshot {
    var snapshot = Snapshot()
    snapshot.version = "1.2.3"
    snapshot.mode = .restartable
    snapshot.options = (0..<Option.count).map { Option(rawValue: $0)!.defaultValue }
    snapshot.zones = names.map { name in
      var zone = ZoneSnapshot()
      (zone.name, zone.size, zone.itemBytes, zone.itemsPerSlab, zone.slabBytes, zone.flags) = (name, 64, 64, 1024, 65536, 4)
      (zone.allocations, zone.frees, zone.slabs, zone.walkedSlabs, zone.walkedFreeItems, zone.freeItems) = (30, 20, 1, 1, 1014, 1014)
      return zone
    }
    return snapshot
  }

  static func tree(_ snapshot: Snapshot, largestFree: Int? = 4096) -> ControlTree { ControlTree(ControlSource(snapshot, largestFree: largestFree)) }

  @Test func `every control has a name of its own, a meaning, and every option of the library is there`() {
    let tree = Self.tree(Self.snapshot("malloc-64"))
    #expect(Swift.Set(tree.controls.map(\.name)).count == tree.controls.count)
    #expect(tree.controls.allSatisfy { !$0.meaning.isEmpty && $0.name.allSatisfy { $0.isLowercase || $0.isNumber || "._".contains($0) } })
    for entry in OptionList.entries {
      let control = tree.controls.first { $0.name == "stave." + entry.key }
      #expect(control?.value.text == (entry.isDrawn ? "-1" : entry.standard) && control?.isWritable == entry.isChangeable, "\(entry.key)")
    }
    #expect(tree.controls.count == GlobalControl.all.count { !$0.name.hasPrefix("kern.ipc.") } + ZoneControl.all.count)
  }

  @Test func `zones' names are mangled, and stay different`() throws {
    let tree = Self.tree(Self.snapshot("a.b/c\\d e-f", "malloc-64", "malloc_64", "malloc.64"))
    let names = tree.controls.map(\.name).filter { $0.hasSuffix(".keg.ipers") }
    #expect(Swift.Set(names) == ["a_b_c_d_e_f", "malloc_64", "malloc_64_1", "malloc_64_2"].reduce(into: []) { $0.insert("vm.uma.\($1).keg.ipers") })
    #expect(try tree.find("vm.uma.malloc_64.stats.current").map(\.value) == [.number(10)])
    #expect(try tree.find("vm.uma.malloc_64.flags").map(\.value) == [.text("0x4 malloc")])
  }

  @Test func `a name is a control or all below it, up to a dot`() throws {
    let tree = Self.tree(Self.snapshot("malloc-64", "malloc-640"))
    #expect(try tree.find("vm.uma.malloc_64").count == ZoneControl.all.count)
    #expect(try tree.find("vm.uma.malloc_64.").count == ZoneControl.all.count)
    #expect(try tree.find("vm.uma").count == 2 * ZoneControl.all.count)
    #expect(try tree.find("vm.zone_count").map(\.value) == [.number(2)])
    var snapshot = Self.snapshot("malloc-64")
    snapshot.types = [TypeSnapshot(), TypeSnapshot(), TypeSnapshot()]
    #expect(try Self.tree(snapshot).find("kern").map(\.value) == [.number(3)])
  }

  @Test func `L71 an unknown control is an error of usage that names the nearest`() {
    let tree = Self.tree(Self.snapshot("malloc-64"))
    for (wrong, right) in [("vm.zonecount", "vm.zone_count"), ("vm.uma.malloc_46.size", "vm.uma.malloc_64.size"), ("stave.perod", "stave.period"), ("vm.um", "vm.uma")] {
      let error = errorOf { () throws(InspectionError) in _ = try tree.find(wrong) }
      #expect(error == .usage("there is no control \(wrong); did you mean \(right)?") && error?.exitStatus == 2)
    }
    for (wrong, right) in [("perod=5", "period"), ("stave.verbos=1", "stave.verbose"), ("debug.malloc.failurerate=1", "debug.malloc.failure_rate")] {
      guard case .usage(let text) = errorOf({ () throws(InspectionError) in _ = try ControlTree.assignment(wrong) }) else {
        Issue.record("\(wrong) is taken")
        continue
      }
      #expect(text.hasSuffix("did you mean \(right)?"), "\(text)")
    }
  }

  @Test func `an assignment is checked before a process is asked`() throws {
    let period = try ControlTree.assignment("period=50")
    #expect(period.option == .period && period.value == 50 && period.control.name == "stave.period")
    #expect(try ControlTree.assignment("stave.hugepages=always").value == 2)
    #expect(try ControlTree.assignment("debug.malloc.failure_rate=7").option == .failureRate)
    #expect(try ControlTree.assignment("inspect=any").value == 1 && ControlTree.assignment("stave.sizes=1").option == .sizes)
    #expect(try ControlTree.assignment("kern.ipc.nmbclusters=5").option == .nmbclusters && ControlTree.assignment("nmbufs=0").option == .nmbufs)
    for (text, words) in [
      ("period=0", "takes 1 to 3600000"), ("period=", "takes 1 to"), ("period=+5", "takes 1 to"), ("hugepages=2", "default, never, always"), ("period", "NAME=VALUE"),
      ("percpu=locked", "only when the program starts"), ("types=skip=libc", "only when the program starts"), ("sizes=2", "0, 1"), ("kern.malloc_count=5", "can only be read"), ("vm.zone_count=5", "can only be read"), ("vm.uma.malloc_64.size=5", "can only be read"),
      ("kern.ipc.nmbclusters=-5", "takes 0 to"), ("memguard_width=512M", "takes bytes, 0 to 64M; not 512M"), ("memguard_min=many", "takes bytes, as 512M; not many"),
      ("report=/tmp/x.log", "only when the program starts (STAVE_OPTIONS=report:/tmp/x.log); it takes stderr and syslog at any time"),
      ("report=x.log", "takes stderr, syslog, file (the one given at start); not x.log"), ("types=some", "takes none, library, site; not some"),
    ] {
      guard case .usage(let reason) = errorOf({ () throws(InspectionError) in _ = try ControlTree.assignment(text) }) else {
        Issue.record("\(text) is taken")
        continue
      }
      #expect(reason.contains(words), "\(reason)")
    }
  }

  @Test func `each type has its controls, of which the limit can be set`() throws {
    var snapshot = Self.snapshot("malloc-64")
    snapshot.types = ["malloc", "images", "images", "libz.so.1"].enumerated().map { number, name in
      var type = TypeSnapshot()
      (type.name, type.number, type.mark, type.limit, type.sleeps) = (name, UInt32(number), 77, number * 1000, 5)
      return type
    }
    snapshot.types[2].instance = 1
    let tree = Self.tree(snapshot)
    #expect(try tree.find("type").count == 3 * TypeControl.all.count, "memory without a type has none")
    #expect(try tree.find("type.images.limit").map(\.value) == [.number(1000)])
    #expect(try tree.find("type.images_1.limit").first?.isWritable == true && tree.find("type.images.sleeps").first?.isWritable == false)
    #expect(try tree.find("type.libz_so_1.sleeps").map(\.value) == [.number(5)])
    let wish = try TypeControl.assignment("type.images_1.limit=70000", in: snapshot)
    #expect(wish.type.number == 2 && wish.bytes == 70000)
    for (text, words) in [
      ("type.images.limit=-1", "takes a number of bytes"), ("type.images.limit=5k", "takes a number of bytes"), ("type.images.limit", "NAME=VALUE"),
      ("type.images.sleeps=5", "can only be read"), ("type.image.limit=5", "did you mean type.images.limit?"), ("type.images=5", "did you mean type.images.limit?"),
      ("type.malloc.limit=5", "there is no control"),
    ] {
      guard case .usage(let reason) = errorOf({ () throws(InspectionError) in _ = try TypeControl.assignment(text, in: snapshot) }) else {
        Issue.record("\(text) is taken")
        continue
      }
      #expect(reason.contains(words), "\(reason)")
    }
    let text = TypeTable().table(snapshot).lines().joined()
    #expect(!text.contains("Limit"), "types without a request are hidden, and their limits")
    snapshot.types[1].allocations = 1
    #expect(TypeTable().table(snapshot).lines().joined(separator: "\n").contains("1K"))
    snapshot.types[1].limit = 0
    #expect(!TypeTable().table(snapshot).lines().joined().contains("Limit"))
  }

  @Test func `T13 what cannot be told is left out, and values that no library has do no harm`() {
    var snapshot = Self.snapshot("malloc-64")
    snapshot.options[Option.hugepages.rawValue] = 99
    snapshot.options[Option.stats.rawValue] = .min
    let tree = Self.tree(snapshot, largestFree: nil)
    #expect(!tree.controls.contains { ["vm.kmem_map_free", "stave.hugepages", "stave.stats"].contains($0.name) })
    // Figures that are plausible each, but not together.
    (snapshot.zones[0].itemsPerSlab, snapshot.zones[0].itemBytes, snapshot.zones[0].slabBytes) = (1 << 20, 1 << 44, 1)
    (snapshot.zones[0].slabs, snapshot.zones[0].walkedSlabs, snapshot.zones[0].freeItems, snapshot.zones[0].walkedFreeItems) = (0, 0, 0, 0)
    snapshot.windowBytes = .max
    #expect(snapshot.isPlausible)
    #expect(!ControlTree.lines(Self.tree(snapshot).controls).isEmpty && !OpenMetrics.text(snapshot).isEmpty && !snapshot.zoneStream.isEmpty)
    snapshot.options = []
    #expect(!Self.tree(snapshot).controls.contains { $0.option != nil })
  }

  // MARK: - Metrics

  @Test func `metrics have names as OpenMetrics wants them: units as suffixes, each family once`() {
    for metric in Metric.all {
      #expect(metric.unit.isEmpty || metric.family.hasSuffix("_" + metric.unit), "\(metric.family)")
      #expect(!metric.family.hasSuffix("_total") && !metric.meaning.isEmpty && metric.family.hasPrefix("stave"))
    }
    #expect(Swift.Set(Metric.all.map(\.family)).count == Metric.all.count)
    let text = OpenMetrics.text(Self.snapshot("malloc-64", "x_1", "x", "a\"b\\c"))
    #expect(text.hasSuffix("# EOF\n") && !text.contains("\n\n"))
    #expect(text.contains("stave_zone_used_bytes{zone=\"malloc-64\"} 640\n") && text.contains("stave_zone_requests_total{zone=\"x\"} 30\n"))
    #expect(text.contains("{zone=\"a\\\"b\\\\c\"}"))
    #expect(!text.contains("stave_resident_bytes"), "a core file has nothing resident")
    let samples = text.split(separator: "\n").filter { !$0.hasPrefix("#") }.map { $0.prefix { $0 != " " } }
    #expect(Swift.Set(samples).count == samples.count, "no sample twice")
    let old = OpenMetrics.text(Self.snapshot("malloc-64"), .prometheus)
    #expect(old.contains("# TYPE stave_info gauge\n") && old.contains("# TYPE stave_zone_requests_total counter\n") && !old.contains("# UNIT") && !old.contains("EOF"))
  }

  @Test func `the longest free run of a process is within what is free`() throws {
    guard let holder = Holder() else { return }
    let reader = try SnapshotReader(LiveProcess(process: holder.child.id))
    let snapshot = try reader.snapshot()
    let largest = try reader.largestFreeRange()
    // All but the lowest part of the window was never used.
    #expect(largest <= snapshot.windowBytes - snapshot.slabBytes - snapshot.largeBytes)
    #expect(largest >= snapshot.windowBytes - snapshot.arenaBytes)
  }
}
