//! The cached-activation decoder: queues, packed weights, one numeric specification.
