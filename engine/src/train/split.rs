//! Which of a singer's clips are trained on, and which training is watched by.

/// What a corpus says of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part {
    /// It is trained on.
    Train,
    /// Training is watched by it.
    Validation,
    /// Nothing.
    Unsplit,
}

/// Where a clip comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    /// Number of its file.
    pub(crate) file: usize,
    /// What the corpus says of that.
    pub(crate) part: Part,
}

/// What becomes of a clip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Use {
    /// It is trained on.
    Train,
    /// Training is watched by it.
    Watch,
    /// Neither: training is watched by another phrase of its song.
    Neither,
}

/// What becomes of a singer's clips, which are in the order of their files: `watched` of them training is watched by, evenly
/// spread, so that every register and folder is among them. Where the corpus does not part songs itself, whole files are kept
/// from training as long as that takes no more than a quarter of the clips, else single phrases. None if there is too little.
pub(crate) fn split(places: &[Place], watched: usize) -> Option<Vec<Use>> {
    let uses: Vec<Use> = if places.iter().any(|place| place.part == Part::Validation) {
        let is_kept = |place: &Place| place.part == Part::Validation;
        watch(places, is_kept, watched)
    } else {
        if places.len() < 2 * watched {
            return None;
        }
        let songs = songs_to_keep(places, watched);
        let kept = places.iter().filter(|place| songs.contains(&place.file)).count();
        if kept <= (places.len() / 4).max(watched) {
            watch(places, |place| songs.contains(&place.file), watched)
        } else {
            let chosen = spread(places.len(), watched);
            (0..places.len())
                .map(|clip| if chosen.contains(&clip) { Use::Watch } else { Use::Train })
                .collect()
        }
    };
    let is_enough = uses.iter().filter(|use_| **use_ == Use::Train).count() >= watched;
    (is_enough && uses.contains(&Use::Watch)).then_some(uses)
}

/// The fewest files, evenly spread, that hold as many clips.
fn songs_to_keep(places: &[Place], watched: usize) -> Vec<usize> {
    let mut files: Vec<usize> = places.iter().map(|place| place.file).collect();
    files.dedup();
    let mut songs = Vec::new();
    let mut clips = 0;
    for index in spread(files.len(), watched.min(files.len())) {
        if clips >= watched {
            break;
        }
        songs.push(files[index]);
        clips += places.iter().filter(|place| place.file == files[index]).count();
    }
    songs
}

/// Everything that `is_kept` says is kept from training, and up to so many of it are watched.
fn watch(places: &[Place], is_kept: impl Fn(&Place) -> bool, watched: usize) -> Vec<Use> {
    let kept = places.iter().filter(|place| is_kept(place)).count();
    let chosen = spread(kept, watched.min(kept));
    let mut number = 0..;
    let mut use_of_kept = || {
        let is_chosen = number.next().is_some_and(|number| chosen.contains(&number));
        if is_chosen { Use::Watch } else { Use::Neither }
    };
    places.iter().map(|place| if is_kept(place) { use_of_kept() } else { Use::Train }).collect()
}

/// `count` of `total`, evenly spread.
fn spread(total: usize, count: usize) -> Vec<usize> {
    let stride = total / count.max(1);
    (0..count).map(|index| stride / 2 + index * stride).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(files: &[usize], part: Part, watched: usize) -> Option<String> {
        let places: Vec<Place> = files.iter().map(|file| Place { file: *file, part }).collect();
        split(&places, watched).map(letters)
    }

    fn letters(uses: Vec<Use>) -> String {
        let letter = |use_| match use_ {
            Use::Train => 't',
            Use::Watch => 'w',
            Use::Neither => '-',
        };
        uses.into_iter().map(letter).collect()
    }

    #[test]
    fn songs_of_one_phrase() {
        let files: Vec<usize> = (0..9).collect();
        assert_eq!(uses(&files, Part::Unsplit, 2).as_deref(), Some("ttwtttwtt"));
    }

    #[test]
    fn a_song_is_kept_whole() {
        let files = [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5];
        assert_eq!(uses(&files, Part::Unsplit, 2).as_deref(), Some("tttww-tttttttttttt"));
    }

    #[test]
    fn one_long_recording_is_kept_in_part() {
        assert_eq!(uses(&[7; 8], Part::Unsplit, 2).as_deref(), Some("ttwtttwt"));
    }

    #[test]
    fn what_the_corpus_says_comes_first() {
        let place = |file, part| Place { file, part };
        let mut places: Vec<Place> = (0..4).map(|file| place(file, Part::Train)).collect();
        places.extend((4..7).map(|file| place(file, Part::Validation)));
        assert_eq!(split(&places, 2).map(letters).as_deref(), Some("ttttww-"));
        // Fewer than asked for are watched rather than none.
        assert_eq!(split(&places, 4).map(letters).as_deref(), Some("ttttwww"));
    }

    #[test]
    fn too_little_is_refused() {
        assert_eq!(uses(&[0, 1, 2], Part::Unsplit, 2), None);
        let validation_alone = [Place { file: 0, part: Part::Validation }];
        assert_eq!(split(&validation_alone, 1), None);
    }
}
