/// Subscriptions of which a front has many, counted.
package struct SubscriptionFamily: Sendable, Equatable {
    package var count = 0
    /// Those that were deleted because nobody used them for too long, since the start.
    package var expired = 0
    /// Values in their session states, by the highest bytes of their numbers.
    package var values: [UInt8: Int] = [:]

    package init() {}
}
