//! Streams that share passes over the weights.

/// Streams beyond which a pass over the weights is not shared, on any instruction set.
pub const MOST_TOGETHER: usize = 4;

/// Work on tasks of streams that are alike, by fours, twos and one by one.
pub(crate) trait Together<T> {
    /// The work on so many of them.
    fn together<const B: usize>(tasks: [&mut T; B]);

    /// The work on all of them.
    fn all(tasks: &mut [T]) {
        let (fours, rest) = tasks.as_chunks_mut::<MOST_TOGETHER>();
        fours.iter_mut().for_each(|tasks| Self::together(tasks.each_mut()));
        let (twos, rest) = rest.as_chunks_mut::<2>();
        twos.iter_mut().for_each(|tasks| Self::together(tasks.each_mut()));
        rest.iter_mut().for_each(|task| Self::together([task]));
    }
}
