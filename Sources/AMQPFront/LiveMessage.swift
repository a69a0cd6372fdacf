internal import StorageService

/// Storage's message for live filters, which the front has none of; the model calls something else so.
typealias LiveMessage = RoutedMessage
