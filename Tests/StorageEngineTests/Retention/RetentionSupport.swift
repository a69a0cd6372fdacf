import MessageModel
import Simulator
import StorageService

@testable import StorageEngine

extension DeliveryBench {
    func topic(_ name: String, _ change: (inout TopicPolicy) -> Void) throws -> TopicID {
        var policy = TopicPolicy()
        change(&policy)
        switch ask(.createTopic(TopicSpecification(name: name, policy: policy))) {
        case .success(.topicCreated(let topic, _)): return topic.id
        case .failure(let error): throw error
        default: throw SluiceError(.internal, "no topic")
        }
    }

    func describeTopic(_ name: String) throws -> TopicDescription {
        guard case .success(.topic(let description)) = ask(.describeTopic(name: name)) else {
            throw SluiceError(.internal, "no description")
        }
        return description
    }

    /// A body of a number and so many bytes more.
    static func body(_ number: Int, bytes: Int = 200) -> String { "\(number):" + String(repeating: "x", count: bytes) }

    /// The numbers of the bodies of a topic that are there, in order.
    func stored(_ topic: TopicID, from start: UInt64? = nil) throws -> [Int] {
        let partition = PartitionID(topic: topic, index: 0)
        var offset = start ?? 0
        if start == nil {
            guard case .success(.offset(let first, _)) = ask(.findOffset(partition, .first)) else {
                throw SluiceError(.internal, "no first offset")
            }
            offset = first
        }
        var found: [Int] = []
        while true {
            let request = FetchRequest(partition: partition, offset: offset, maxBytes: 16 << 10, waitMicroseconds: 0)
            let reply: FetchReply
            switch ask(.fetch(request)) {
            case .success(.fetched(let fetched)): reply = fetched
            case .failure(let error): throw error
            default: throw SluiceError(.internal, "no answer")
            }
            guard !reply.batches.isEmpty else { return found }
            reply.batches.withUnsafeBytes { bytes in
                var rest = bytes[...]
                while let batch = BatchView(prefixOf: UnsafeRawBufferPointer(rebasing: rest)) {
                    var cursor = batch.records
                    while let record = cursor.next() {
                        let sequence = batch.baseOffset + UInt64(cursor.index - 1)
                        guard sequence >= offset else { continue }
                        found.append(Self.number(String(decoding: record.body, as: UTF8.self)))
                        offset = sequence + 1
                    }
                    rest = rest.dropFirst(batch.byteCount)
                }
            }
        }
    }

    static func number(_ body: String) -> Int { Int(body.prefix { $0 != ":" }) ?? -1 }

    /// The numbers of the log's segments, without the one that is made ahead.
    var segments: [UInt64] { shard.log.segments.map(\.number) }

    /// Opens what is there again, as after a crash, with or without the files that can be made again.
    func reopen(_ disk: SimulatedDisk, withoutFiles: Bool = false) throws {
        self.disk = disk
        if withoutFiles {
            for file in try disk.listFilesNow() { disk.lose(file: file) }
        }
        shard = try Shard.open(device: disk, options: options)
        settle()
        session = shard.openSession(tenant: .default)
        got = []
        ended = [:]
    }

    /// What is on the disk, in bytes.
    func diskBytes() throws -> Int {
        var bytes = try disk.listSegmentsNow().reduce(0) { $0 + $1.size }
        for file in try disk.listFilesNow() { bytes += try disk.readFileNow(file)?.count ?? 0 }
        return bytes
    }
}
