use super::*;

fn file(bytes: u64) -> (tempfile::TempDir, File) {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = File::options()
        .create_new(true)
        .read(true)
        .write(true)
        .open(dir.path().join("f"))
        .expect("create");
    allocate(&file, 0, bytes).expect("allocate");
    (dir, file)
}

#[test]
fn what_is_written_through_the_window_is_in_the_file() {
    use std::os::unix::fs::FileExt;
    let (_dir, file) = file(3 * PAGE_BYTES);
    let fault = Arc::new(AtomicBool::new(false));
    let mut window = Window::map(&file, PAGE_BYTES, 3 * PAGE_BYTES, &fault).expect("map");
    assert!(window.covers(PAGE_BYTES, 2 * 4096) && !window.covers(PAGE_BYTES, 2 * 4096 + 1));
    assert!(window.bytes_mut(0, 5).is_empty(), "before the window");
    window.bytes_mut(5000, 5).copy_from_slice(b"hello");
    let mut back = [0; 5];
    file.read_exact_at(&mut back, 5000).expect("read");
    assert_eq!(&back, b"hello");
    assert_eq!(window.bytes_mut(5000, 5), b"hello");
    assert!(!window.faulted());
}

#[test]
fn a_file_cut_by_an_outsider_raises_the_flag_and_not_the_roof() {
    let (_dir, file) = file(4 * PAGE_BYTES);
    let fault = Arc::new(AtomicBool::new(false));
    let mut window = Window::map(&file, 0, 4 * PAGE_BYTES, &fault).expect("map");
    file.set_len(0).expect("cut");
    window.bytes_mut(100, 5).copy_from_slice(b"hello");
    assert!(window.faulted());
    // The next fault, on another window, is caught as well: the handler stays.
    file.set_len(4 * PAGE_BYTES).expect("grow");
    let other = Arc::new(AtomicBool::new(false));
    let mut second = Window::map(&file, 0, 4 * PAGE_BYTES, &other).expect("map");
    file.set_len(0).expect("cut");
    second.bytes_mut(PAGE_BYTES, 1).fill(1);
    assert!(second.faulted());
}

#[test]
fn many_windows_find_their_own_slot() {
    let (_dir, file) = file(PAGE_BYTES);
    let windows: Vec<_> = (0..600)
        .map(|_| {
            let fault = Arc::new(AtomicBool::new(false));
            Window::map(&file, 0, PAGE_BYTES, &fault).expect("map")
        })
        .collect();
    for window in &windows {
        let address = window.map.as_ptr() as usize;
        let (start, len, fault) = find(address + 17).expect("registered");
        assert_eq!((start, len), (address, 4096));
        assert_eq!(fault.cast_const(), Arc::as_ptr(&window.fault));
    }
    let address = windows[0].map.as_ptr() as usize;
    drop(windows);
    assert!(find(address).is_none());
}

#[test]
fn a_full_file_system_is_an_error_of_the_allocation() {
    let (_dir, file) = file(0);
    let error = allocate(&file, 0, 1 << 50).expect_err("a petabyte");
    assert!(
        matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::FileTooLarge
        ),
        "{error:?}"
    );
}
