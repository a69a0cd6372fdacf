import FileLog
import Glibc
import MessageModel
import TestSupport
import Testing

@Suite("Node directory")
struct NodeDirectoryTests {
    let temporary: TemporaryDirectory
    var path: String { temporary.path + "/deep/data" }

    init() throws {
        temporary = try TemporaryDirectory()
    }

    func open(
        _ path: String? = nil,
        name: String? = nil,
        id: String? = nil
    ) throws(SluiceError) -> NodeDirectory {
        try NodeDirectory.open(path: path ?? self.path, nodeName: name, nodeID: id, now: Timestamp(rawValue: 1_234_567))
    }

    @Test("a new directory is made and keeps its identity")
    func newDirectory() throws {
        let first = try open(name: "mill").identity
        #expect(first.name == "mill" && first.id.utf8.count == 32 && first.format == 1)
        #expect(first.created == Timestamp(rawValue: 1_234_567))
        #expect(try open().identity == first)
        #expect(try open(name: "mill", id: first.id).identity == first)
        let other = try open(temporary.path + "/other")
        #expect(other.identity.name == "sluice" && other.identity.id != first.id)
    }

    @Test("shards have directories of their own, ready for a device")
    func shards() throws {
        let node = try open()
        #expect(try node.shardPath(0) == path + "/shards/0")
        let device = try FileDevice(directory: try node.shardPath(3), onEvents: { _ in })
        #expect(temporary.names(in: "deep/data") == ["LOCK", "NODE", "shards"])
        #expect(temporary.names(in: "deep/data/shards/3") == ["files", "log"])
        device.shutdown()
        #expect(try node.diskSpace().available > 0)
    }

    @Test("a second server is refused with the process that is there")
    func inUse() throws {
        let first = try open()
        let failure = #expect(throws: SluiceError.self) { try open() }
        #expect(failure?.code == .storageUnavailable)
        #expect(failure?.message == "\(path) is in use by process \(getpid())")
        #expect(failure?.hint.isEmpty == false)
        withExtendedLifetime(first) {}
    }

    @Test("the directory is free again when its holder has gone")
    func released() throws {
        for _ in 0..<3 { _ = try open() }
    }

    @Test("another node's directory is refused")
    func otherNode() throws {
        let id = try open(name: "mill").identity.id
        let name = #expect(throws: SluiceError.self) { try open(name: "weir") }
        #expect(name?.code == .alreadyExists && name?.message == "\(path) belongs to node 'mill', not 'weir'")
        let wanted = String(repeating: "0", count: 32)
        let other = #expect(throws: SluiceError.self) { try open(id: wanted) }
        #expect(other?.code == .alreadyExists && other?.message == "\(path) belongs to node id \(id), not \(wanted)")
    }

    @Test("a directory that has no secret yet gets one, and keeps it")
    func secret() throws {
        let first = try open().identity
        #expect(try open().identity.secret == first.secret)
        temporary.write(
            "format: 1\nid: \(first.id)\nname: sluice\ncreated: 5\n",
            to: "deep/data/NODE"
        )
        let second = try open().identity
        #expect(second.id == first.id && second.secret != first.secret)
        #expect(try open().identity.secret == second.secret)
    }

    @Test("a directory of a newer format is refused, whatever else is in it")
    func newerFormat() throws {
        _ = try open()
        temporary.write("format: 2\nsomething: else\n", to: "deep/data/NODE")
        let failure = #expect(throws: SluiceError.self) { try open() }
        #expect(failure?.code == .versionNotSupported)
        #expect(failure?.message == "\(path) has format 2; this version reads up to format 1")
    }

    @Test("a damaged NODE file is refused", arguments: ["", "no colon", "format: 1\n", "format: x\n", "format: -1\n"])
    func damaged(text: String) throws {
        _ = try open()
        temporary.write(text, to: "deep/data/NODE")
        let failure = #expect(throws: SluiceError.self) { try open() }
        #expect(failure?.code == .storageUnavailable && failure?.message.contains("is damaged") == true)
    }

    @Test("a directory with something else in it is refused and left as it was")
    func foreign() throws {
        temporary.write("precious", to: "thesis.txt")
        let failure = #expect(throws: SluiceError.self) { try open(temporary.path) }
        #expect(failure?.code == .invalidArgument && failure?.message.contains("thesis.txt") == true)
        #expect(temporary.names() == ["thesis.txt"])
    }

    @Test("what an interrupted first start left is not foreign")
    func interruptedStart() throws {
        temporary.write("", to: "LOCK")
        temporary.write("format: ", to: "NODE.new")
        #expect(try open(temporary.path).identity.name == "sluice")
    }

    @Test("a file in the directory's place is refused")
    func notADirectory() throws {
        temporary.write("x", to: "file")
        let failure = #expect(throws: SluiceError.self) { try open(temporary.path + "/file") }
        #expect(failure?.code == .invalidArgument)
        let below = #expect(throws: SluiceError.self) { try open(temporary.path + "/file/data") }
        #expect(below?.code == .invalidArgument)
    }
}
