package import MessageModel
package import NIOCore

/// Gathers what storage says of appends in one round into as few PRODUCE_ACK frames as can be: one for each handle and
/// partition, with one run for all batches that follow each other without a gap.
package struct ProduceAckGatherer {
    private struct Group {
        var handle: UInt32
        var partition: UInt16
        var position: UInt64
        var runs: [ProduceAck.Run]
    }

    /// Groups and their arrays are used again.
    private var groups: [Group] = []
    private var used = 0
    /// With more, the search for a group would cost more than a frame.
    private static let mostGroups = 16

    /// Of the acknowledgements' bodies.
    package var version: UInt16 = 1

    package init() {}

    package var isEmpty: Bool { used == 0 }

    /// A batch is stored.
    package mutating func add(
        handle: UInt32,
        partition: UInt16,
        firstSequence: UInt32,
        count: UInt32,
        baseOffset: UInt64,
        position: LogPosition,
        scheduled: WireScheduledID? = nil,
        to buffer: inout ByteBuffer
    ) {
        var index = used - 1
        while index >= 0, groups[index].handle != handle || groups[index].partition != partition { index -= 1 }
        if index < 0 {
            if used == Self.mostGroups { flush(to: &buffer) }
            if used == groups.count { groups.append(Group(handle: 0, partition: 0, position: 0, runs: [])) }
            index = used
            used += 1
            groups[index].handle = handle
            groups[index].partition = partition
            groups[index].position = 0
            groups[index].runs.removeAll(keepingCapacity: true)
        }
        groups[index].position = max(groups[index].position, position.rawValue)
        let last = groups[index].runs.count - 1
        if last >= 0, baseOffset != ProduceAck.Run.waits {
            let run = groups[index].runs[last]
            let (sum, overflow) = run.count.addingReportingOverflow(count)
            if !overflow, run.firstSequence &+ run.count == firstSequence,
                run.baseOffset &+ UInt64(run.count) == baseOffset
            {
                groups[index].runs[last].count = sum
                return
            }
        }
        groups[index].runs.append(
            ProduceAck.Run(
                firstSequence: firstSequence,
                count: count,
                baseOffset: baseOffset,
                scheduled: scheduled
            )
        )
    }

    /// Writes what was gathered.
    package mutating func flush(to buffer: inout ByteBuffer) {
        for index in 0..<used {
            let group = groups[index]
            buffer.writeFrame(FrameHeader(.push, .produceAck, handle: group.handle)) { buffer in
                ProduceAck(
                    status: .ok,
                    partition: group.partition,
                    position: group.position,
                    runs: group.runs
                ).write(to: &buffer, version: version)
            }
        }
        used = 0
    }
}
