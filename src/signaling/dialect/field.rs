//! What the keys of a row can hold.

/// Keys, in order, with what they hold.
pub(in crate::signaling) type Fields = &'static [(&'static str, Field)];

/// What a key holds. What there is nothing of is left out.
#[derive(Clone, Copy)]
pub(in crate::signaling) enum Field {
    True,
    False,
    Zero,
    /// Always the same.
    Says(&'static str),
    /// The time, as a text (RFC 3339).
    NowText,
    /// An object of these.
    Object(Fields),
    /// `{code, message, retryAfter?}`
    Failure,
    Code,
    Message,
    Command,
    /// Seconds.
    RetryAfter,
    /// The number of the event among those of this seat.
    Seq,

    // Of the room the event is about.
    RoomId,
    /// `{id, kind, name?, description?, media?, creator?, capacity, createdAt, status, count, private, listed, hasPassword, locked, lobby}`
    Room,
    /// What people call it, else its id.
    RoomName,
    /// Only if it has one.
    Description,
    Creator,
    Capacity,
    /// Peers in it.
    Count,
    /// Users who belong to it.
    Belonging,
    /// When it was made, as a text (RFC 3339).
    CreatedAtText,
    Private,
    Public,
    HasPassword,
    /// When somebody last came or was heard, as far as that is known; as a text.
    ActiveAtText,
    /// `persistent`, or `ephemeral`.
    Lasting,
    /// The users in it, each once: their labels, or the ids of peers without one.
    Users,
    /// The same without the receiver.
    OtherUsers,

    // Of the receiver.
    /// `{peerId, userId?, name?, rank}`
    Me,
    MyId,
    /// The others, each as `Peer`.
    Peers,
    PeerIds,
    /// Those of the others whose rank is another now, each as `Peer`; only if there are any.
    Ranks,

    // Of whom the event is about.
    /// `{peerId, userId?, name?, polite, rank, away?}`
    Peer,
    PeerId,
    /// The peer's user, else its id.
    UserId,
    /// Its user only.
    User,
    /// What it is called.
    Name,
    /// What it is called, else its user, else its id.
    NameOrId,

    Reason,
    /// `true` if it went with its connection, and did not just leave; else left out.
    Disconnected,
    Kind,
    Data,

    // Of the message.
    Text,
    Attachments,
    MessageId,
    /// Milliseconds since 1970.
    SaidAt,
    SaidAtText,
    ClientId,

    IceServers,
    /// Seconds.
    IceTtl,
    Resume,
    /// Only when true.
    Resumed,
    /// The seat was made anew after a restart; only when true.
    Restored,
    /// How many events were lost while away; only when any.
    Missed,
    /// What was said, oldest first, each as these.
    Messages(Fields),
    /// There is more; the text to ask for it with.
    Next,
    /// Rooms, each as `Room`.
    Directory,
    /// Rooms, each as these. Under an empty key it is all there is: a list instead of an object.
    Rooms(Fields),
}
