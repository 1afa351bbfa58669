const things = { both: 'camera and microphone', audio: 'microphone', video: 'camera' };

/**
 * What getUserMedia's error means and what to do about it, in words: `{ title, advice, again }`. `what` is both, audio
 * or video; `again` says whether trying again makes sense.
 */
export function inWords(error, what) {
  const thing = things[what];
  switch (error.name) {
    case 'InsecureContext':
      return {
        title: `Your browser keeps the ${thing} from this page.`,
        advice: `It gives them only to pages opened with https. Try https://${location.host}/ or ask whoever runs this server. You can still join to watch, listen and write.`,
        again: false,
      };
    case 'NotAllowedError':
    case 'SecurityError':
      return {
        title: `The ${thing} may not be used here.`,
        advice: 'You or your browser said no. Click the camera or the lock beside the address, allow it, and try again; on a phone or a Mac, look in the system’s privacy settings too. You can also join without.',
        again: true,
      };
    case 'NotFoundError':
      return {
        title: `No ${thing} found.`,
        advice: 'Plug one in and try again, or join without it: you can see, hear and write.',
        again: true,
      };
    case 'NotReadableError':
    case 'AbortError':
      return {
        title: `The ${thing} could not be started.`,
        advice: 'Another program or tab may be using it. Close that one and try again.',
        again: true,
      };
    case 'OverconstrainedError':
      return { title: `The chosen ${thing} is gone.`, advice: 'Choose another one from the list.', again: true };
    default:
      return { title: `The ${thing} did not start.`, advice: `The browser says: ${error.message || error.name}`, again: true };
  }
}

/** Why a call ended or could not begin: `{ title, text, again }`. `code` is the SDK's reason. */
export function endInWords(code, detail) {
  switch (code) {
    case 'left':
      return { title: 'You left the call.', text: 'The others may still be talking. The link stays good.', again: true };
    case 'room-full':
      return { title: 'The room is full.', text: 'Nobody else fits in just now. Try again when somebody has left, or open another room.', again: true };
    case 'peer-left':
      return { title: 'The call is over.', text: 'This room was for two, and the other one has left.', again: true };
    case 'peer-lost':
      return { title: 'The call is over.', text: 'This room was for two, and the other one lost the connection for too long.', again: true };
    case 'peer-kicked':
      return { title: 'The call is over.', text: 'This room was for two, and the other one was put out by whoever runs this server.', again: true };
    case 'kicked':
      return { title: 'You were put out of the call.', text: 'Whoever runs this server has ended it for you.', again: true };
    case 'banned':
      return { title: 'This room is closed to you.', text: 'Whoever runs this server does not let you in any more.', again: false };
    case 'denied':
      return { title: 'You were not let in.', text: 'Somebody in the room has said no.', again: true };
    case 'room-locked':
      return { title: 'The room is locked.', text: 'Nobody new comes in just now.', again: true };
    case 'private-room':
      return { title: 'This room is private.', text: 'Somebody who belongs to it has to invite you.', again: true };
    case 'creator-left':
      return { title: 'The call is over.', text: 'Whoever made this room has left, and it ended with that.', again: true };
    case 'unauthorized':
      return { title: 'This server wants to know who you are.', text: 'Sign in where you got the link from, then try again.', again: true };
    case 'token-expired':
      return { title: 'Your sign-in has ended.', text: 'Sign in again where you got the link from, then come back.', again: true };
    case 'forbidden':
      return { title: 'This room is not open to you.', text: 'Ask whoever gave you the link.', again: false };
    case 'deleted':
      return { title: 'The call is over.', text: 'Whoever runs this server has ended it.', again: true };
    case 'closed':
      return { title: 'The call is over.', text: 'The room was closed.', again: true };
    case 'timeout':
      return { title: 'Nobody came.', text: 'The room was closed after waiting a while. Open it again whenever you like.', again: true };
    case 'unreachable':
      return { title: 'The server does not answer.', text: 'Check your connection to the internet, then try again.', again: true };
    case 'too-many-requests':
      return {
        title: 'That was a bit fast.',
        text: detail?.retryAfter ? `The server asks you to wait ${Math.ceil(detail.retryAfter)} seconds.` : 'Wait a moment, then try again.',
        again: true,
      };
    case 'room-closed':
      return { title: 'The server is restarting.', text: 'Try again in a moment.', again: true };
    default:
      return { title: 'That did not work.', text: detail?.message || `The server says: ${code}`, again: true };
  }
}
