//! Uploads, whole and in parts.

use crate::rig::{rig, sha256};

#[tokio::test(flavor = "multi_thread")]
async fn an_input_comes_whole_or_in_parts_and_is_checked() {
    let rig = rig().await;
    let bytes: Vec<u8> = (0..100_000u32).flat_map(u32::to_le_bytes).collect();
    let path = format!("/api/training/inputs/{}", sha256(&bytes));
    assert_eq!(rig.send("HEAD", &path, "", b"").await.status, 404);
    let (first, rest) = bytes.split_at(150_000);
    let range =
        |from: usize, until: usize| format!("Content-Range: bytes {from}-{}/{}\r\n", until - 1, bytes.len());
    let part = rig.send("PUT", &path, &range(0, first.len()), first).await;
    assert_eq!(part.status, 202, "{}", part.text());
    assert_eq!(part.json()["received"], first.len());
    let head = rig.send("HEAD", &path, "", b"").await;
    assert_eq!((head.header("upload-offset"), head.header("upload-complete")), (Some("150000"), Some("?0")));
    let asked = rig.send("PUT", &path, &format!("Content-Range: bytes */{}\r\n", bytes.len()), b"").await;
    assert_eq!((asked.status, &asked.json()["received"]), (202, &150_000.into()));
    let whole = rig.send("PUT", &path, &range(first.len(), bytes.len()), rest).await;
    assert_eq!(whole.status, 201, "{}", whole.text());
    assert_eq!(whole.json()["complete"], true);
    assert_eq!(rig.send("HEAD", &path, "", b"").await.header("upload-complete"), Some("?1"));
    assert_eq!(rig.send("PUT", &path, "", &bytes).await.status, 200);
    let other = format!("/api/training/inputs/{}", sha256(b"other"));
    rig.send("PUT", &other, "", b"not that").await.refused(400, "digest_mismatch");
    // A part that came before stands in nobody's way.
    let third = format!("/api/training/inputs/{}", sha256(b"a third one"));
    assert_eq!(rig.send("PUT", &third, "Content-Range: bytes 0-4/11\r\n", b"a thi").await.status, 202);
    assert_eq!(rig.send("PUT", &third, "", b"a third one").await.status, 201);
    rig.send("PUT", "/api/training/inputs/abc", "", b"x").await.refused(400, "invalid_sha256");
    rig.send("PUT", &other, "Content-Range: bytes 0-4/*\r\n", b"other")
        .await
        .refused(400, "invalid_content_range");
    rig.send("PUT", &other, "Content-Range: bytes 0-9/10\r\n", b"other")
        .await
        .refused(400, "invalid_content_range");
    assert_eq!(rig.send("PUT", &other, "", b"other").await.status, 201);
}
