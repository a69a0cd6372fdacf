// swift-tools-version: 6.2
// The targets and who may import whom follow docs/layers.md; scripts/check-layers fails on any other import.

import PackageDescription

let swiftSettings: [SwiftSetting] = [
    .swiftLanguageMode(.v6),
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("MemberImportVisibility"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableExperimentalFeature("Lifetimes"),
]

let argumentParser = Target.Dependency.product(name: "ArgumentParser", package: "swift-argument-parser")
let deques = Target.Dependency.product(name: "DequeModule", package: "swift-collections")
let heaps = Target.Dependency.product(name: "HeapModule", package: "swift-collections")
let httpTypes = Target.Dependency.product(name: "HTTPTypes", package: "swift-http-types")
let hummingbird = Target.Dependency.product(name: "HummingbirdCore", package: "hummingbird")
let logging = Target.Dependency.product(name: "Logging", package: "swift-log")
let nioCore = Target.Dependency.product(name: "NIOCore", package: "swift-nio")
let nioEmbedded = Target.Dependency.product(name: "NIOEmbedded", package: "swift-nio")
let nioHTTPTypes = Target.Dependency.product(name: "NIOHTTPTypes", package: "swift-nio-extras")
let nioHTTP1 = Target.Dependency.product(name: "NIOHTTP1", package: "swift-nio")
let nioWebSocket = Target.Dependency.product(name: "NIOWebSocket", package: "swift-nio")
let nioPosix = Target.Dependency.product(name: "NIOPosix", package: "swift-nio")
let yams = Target.Dependency.product(name: "Yams", package: "Yams")

func target(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .target(name: name, dependencies: dependencies, exclude: [], swiftSettings: swiftSettings)
}

func testTarget(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(name: name, dependencies: dependencies + ["TestSupport"], swiftSettings: swiftSettings)
}

let package = Package(
    name: "sluice",
    products: [
        .executable(name: "sluice", targets: ["sluice"]),
        .library(name: "SluiceClient", targets: ["SluiceClient"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.2"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.6.0"),
        .package(url: "https://github.com/apple/swift-http-types", from: "1.8.0"),
        .package(url: "https://github.com/apple/swift-log", from: "1.16.2"),
        .package(url: "https://github.com/apple/swift-nio", from: "2.101.2"),
        .package(url: "https://github.com/apple/swift-nio-extras", from: "1.24.0"),
        .package(url: "https://github.com/hummingbird-project/hummingbird", from: "2.28.1", traits: []),
        .package(url: "https://github.com/jpsim/Yams", from: "6.2.2"),
    ],
    targets: [
        // C: hardware instructions and system calls that Swift cannot reach, and the system's libraries.
        .target(name: "CSluiceShims"),
        .systemLibrary(name: "COpenSSL", pkgConfig: "openssl", providers: [.apt(["libssl-dev"])]),
        .systemLibrary(name: "CMosquitto", pkgConfig: "libmosquitto", providers: [.apt(["libmosquitto-dev"])]),

        // The message model: imports nothing of ours but the checksum instruction.
        target("MessageModel", ["CSluiceShims"]),

        // Storage: the one boundary that everything above knows, and what stands behind it.
        target("StorageService", ["MessageModel"]),
        target("StorageEngine", ["StorageService", "MessageModel", "CSluiceShims", deques, heaps]),
        target("FileLog", ["StorageEngine", "StorageService", "MessageModel", "CSluiceShims"]),
        target("LocalStorage", ["StorageService", "StorageEngine", "FileLog", "MessageModel", nioCore, logging]),
        target("Simulator", ["StorageEngine", "StorageService", "MessageModel", "CSluiceShims"]),

        // Protocols as values, the gateway, and the fronts that join them.
        target("Credentials", ["COpenSSL"]),
        target("NativeProtocol", ["MessageModel", nioCore]),
        target("MQTTProtocol", [nioCore]),
        target("AMQPProtocol", [nioCore]),
        target("AMQPModel", ["AMQPProtocol", "MessageModel", "StorageService"]),
        target("Gateway", ["StorageService", "MessageModel", nioCore, logging]),
        target(
            "NativeFront",
            ["Gateway", "StorageService", "NativeProtocol", "MessageModel", nioCore, nioPosix, logging]
        ),
        target(
            "MQTTFront",
            [
                "Gateway", "StorageService", "MQTTProtocol", "MessageModel", "Credentials", "Transport", deques, nioCore,
                nioPosix, logging,
            ]
        ),
        target(
            "AMQPFront",
            [
                "Gateway", "StorageService", "AMQPModel", "AMQPProtocol", "MessageModel", "Credentials", "Transport", deques,
                nioCore, nioPosix, logging,
            ]
        ),
        target(
            "HTTPFront",
            [
                "Gateway", "OutboundHTTP", "StorageService", "MessageModel", "Transport", hummingbird, httpTypes, nioHTTPTypes, nioHTTP1,
                nioCore, logging,
            ]
        ),

        // The client library, the console, and what the executable needs besides.
        target("SluiceClient", ["NativeProtocol", "MessageModel", nioCore, nioPosix, logging]),
        target("ServerConfiguration", ["Credentials", yams]),
        target("Observability", [logging]),
        target("Transport", ["MessageModel", nioCore, nioHTTP1, nioWebSocket]),
        target("OutboundHTTP", [nioCore, nioHTTP1, nioPosix]),
        target("AdminConsole", ["OutboundHTTP", argumentParser]),
        .executableTarget(
            name: "sluice",
            dependencies: [
                "AMQPFront", "AMQPModel", "AMQPProtocol", "AdminConsole", "COpenSSL", "CMosquitto", "Credentials", "ServerConfiguration", "FileLog", "Gateway", "HTTPFront",
                "LocalStorage",
                "MQTTFront", "MQTTProtocol", "MessageModel", "NativeFront", "NativeProtocol", "Observability",
                "Simulator",
                "SluiceClient", "StorageEngine", "StorageService", "Transport",
                argumentParser, logging, nioCore, nioPosix,
            ],
            swiftSettings: swiftSettings
        ),
        .executableTarget(
            name: "Benchmarks",
            dependencies: [
                "FileLog", "MQTTProtocol", "MessageModel", "NativeProtocol", "SluiceClient", "StorageEngine", "StorageService",
                argumentParser, nioCore, nioPosix,
            ],
            swiftSettings: swiftSettings
        ),

        // Tests mirror Sources; TestSupport holds what several of them use.
        .target(
            name: "TestSupport",
            dependencies: ["MessageModel", "StorageEngine"],
            path: "Tests/Support",
            swiftSettings: swiftSettings
        ),
        testTarget("MessageModelTests", ["MessageModel"]),
        testTarget("StorageEngineTests", ["StorageEngine", "StorageService", "FileLog", "Simulator", "MessageModel"]),
        testTarget(
            "LocalStorageTests",
            [
                "LocalStorage", "StorageService", "FileLog", "StorageEngine", "MessageModel", nioCore, nioPosix,
                nioEmbedded,
            ]
        ),
        testTarget("CredentialsTests", ["Credentials"]),
        testTarget("NativeProtocolTests", ["NativeProtocol", "MessageModel", nioCore]),
        testTarget("MQTTProtocolTests", ["MQTTProtocol", nioCore]),
        testTarget("AMQPProtocolTests", ["AMQPProtocol", nioCore]),
        testTarget("AMQPModelTests", ["AMQPModel", "AMQPProtocol", "MessageModel", "StorageEngine", "StorageService", nioCore]),
        testTarget(
            "FrontTests",
            [
                "Gateway", "NativeFront", "MQTTFront", "AMQPFront", "AMQPModel", "AMQPProtocol", "HTTPFront", "NativeProtocol", "MQTTProtocol", "SluiceClient",
                "LocalStorage", "StorageEngine", "StorageService", "MessageModel", nioCore, nioHTTP1, nioPosix, nioEmbedded,
                logging,
            ]
        ),
        testTarget("TransportTests", ["Transport", "MessageModel", nioCore, nioEmbedded, nioHTTP1, nioWebSocket]),
        testTarget("SluiceClientTests", ["SluiceClient", "NativeProtocol", "MessageModel", nioCore, nioEmbedded]),
        testTarget("ServerConfigurationTests", ["ServerConfiguration", "Observability", logging]),
        testTarget("ConsoleTests", ["AdminConsole", "OutboundHTTP", argumentParser, nioCore, nioHTTP1, nioPosix]),
    ]
)
