const first = `amber autumn bright brisk calm cedar clear cobalt copper coral crisp dawn dusty early eastern even fern fleet gentle gilded
glad golden green hazel hidden hollow indigo ivory jade kind late light linden little lunar marble mellow misty noble north
olive open pale pearl plain quiet rapid rosy rustic sage silent silver slate soft solar south spring still sunny swift tidal vast warm`.split(/\s+/);
const second = `arbor arcade arch avenue bay beacon bridge brook canal canyon causeway cloister coast corner court cove creek crossing dale delta dock
doorway fjord ford forum gallery garden gate glade grove hall harbour haven hearth hill inlet island jetty lagoon lake lantern
ledge lodge meadow mill orchard pass path pavilion pier plaza porch portal quay reef ridge river shore spire square terrace valley well`.split(/\s+/);
// Without letters and digits that are taken for one another.
const letters = 'abcdefghjkmnpqrstuvwxyz23456789';

/** A room name to read out, with enough chance in it (about 42 bits) that nobody guesses it. */
export function newRoomId() {
  const dice = crypto.getRandomValues(new Uint32Array(8));
  const tail = [...dice.slice(2)].map((n) => letters[n % letters.length]).join('');
  return `${first[dice[0] % first.length]}-${second[dice[1] % second.length]}-${tail}`;
}

export const isRoomId = (text) => /^[A-Za-z0-9_-]{1,64}$/.test(text);

/** The room in what somebody typed or pasted: a link, or the name itself. Undefined if it cannot be one. */
export function roomFrom(text) {
  const typed = text.trim();
  let id = typed;
  if (/^https?:\/\//i.test(typed) && URL.canParse(typed)) id = new URL(typed).searchParams.get('room') ?? '';
  id = id.replace(/\s+/g, '-');
  return isRoomId(id) ? id : undefined;
}

export function linkTo(room) {
  const link = new URL('/', location.href);
  link.searchParams.set('room', room);
  return link.href;
}
