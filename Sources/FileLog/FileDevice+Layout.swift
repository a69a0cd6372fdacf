import Glibc

extension FileDevice {
    /// A device's directory as it is found, cleaned of what a crash left unfinished.
    struct Layout: Sendable {
        let logPath: String
        let logDirectory: SystemFile
        let sideFiles: SideFiles
        let table: SegmentTable
        /// Names of the spares of an earlier run.
        let spares: [String]
        let spareBytes = SpareBytes()

        init(opening path: String) throws(SystemError) {
            logPath = "\(path)/log"
            let filesPath = "\(path)/files"
            let isNew = try FileSystem.makeDirectory(path)
            try FileSystem.makeDirectory(logPath)
            try FileSystem.makeDirectory(filesPath)
            try SystemFile.openDirectory(path).sync()
            if isNew { try SystemFile.openDirectory(FileSystem.parent(of: path)).sync() }

            logDirectory = try SystemFile.openDirectory(logPath)
            sideFiles = SideFiles(path: filesPath, directory: try SystemFile.openDirectory(filesPath))
            try sideFiles.removeUnfinished()
            for name in try sideFiles.names() { try Self.trustOnlyTheDisk("\(filesPath)/\(name)") }

            table = SegmentTable(directory: logPath)
            var spares: [String] = []
            for name in try FileSystem.names(in: logPath) {
                let file = "\(logPath)/\(name)"
                switch SegmentNames.kind(of: name) {
                case .segment(let number): table.add(number: number, size: try Self.trustOnlyTheDisk(file))
                case .unfinished: try FileSystem.remove(file)
                case .spare: spares.append(name)
                case .foreign: continue
                }
            }
            self.spares = spares
        }

        /// - Returns: the file's size.
        @discardableResult
        private static func trustOnlyTheDisk(_ path: String) throws(SystemError) -> Int {
            let file = try SystemFile.open(path, O_RDWR)
            try file.syncData()
            file.forgetCache()
            return try file.size()
        }
    }
}
