// The words that the simulated engine speaks. Output token ids are indexes into this list; ids of prompt pieces lie above it.

const text = `a about above across after again air all also always among an and animal answer any area around as ask at away
back bank base be bear beat because become bed been before began behind bell best better between big bird black blue board boat
body book both bottle bridge bright bring brother build busy but by call came can canal captain care carry case catch cause
center chair change city clay clear climb clock close cloud coast cold color come common complete contain cook cool copper
corner could count country course cover cross cry current dark day deep desert design did differ direct distance do dog door
draw dream drive dry during each early earth east eat edge eight end engine enough equal even evening ever every eye face fact
fall family far farm fast father few field fig figure fill final find fine fire first fish five flag floor flow fly follow food
foot for forest form forward found four free fresh friend from front full game garden gather gave get girl give glass go gold
good govern grain grand grass great green ground group grow had half hand harbor hard has hat have he head hear heat heavy help
her here high hill him his hold home hope horse hot hour house how hundred idea if in inch interest iron island it its join
journey just keep key kind king know lake lamp land language large last late laugh law lead learn leave left less let letter
level life light like line list listen little live long look love low machine made main make man many map mark market may me
mean measure meet men metal middle might mile mind minute money month moon more morning most mother mountain move much music
must name near need never new next night nine no north note nothing notice now number object ocean of off often old on once one
only open or order other our out over own page paint paper part pass past pattern people perhaps person picture piece place
plain plan plane plant play point port possible power press problem produce pull put question quick rain ran reach read ready
real record red remember rest right ring river road rock room round rule run safe said sail same sand saw say school science
sea second see seem self sentence serve set seven several shall shape she ship short should show side signal silver simple
since sing sit six size sky sleep slow small snow so some song soon sound south space special spell spring stand star start
state station stay steam step still stone stood stop story street strong study such summer sun sure surface swift switch table
take talk teach tell ten test than that the their them then there these they thing think this those though thought thousand
three through time to together told too took top toward town train travel tree true try turn two under unit until up us use
usual valley very voice vowel wait walk wall want war warm was watch water wave way we weather week weight well went were west
what wheel when where which while white who whole why wide will wind window winter wish with wonder wood word work world would
write yard year yellow yes yet you young your`;

/** Unique, in alphabetical order. */
export const words: readonly string[] = text.split(/\s+/);

/** Every output token's text: a space and a word. */
export const tokenTexts: readonly string[] = words.map((word) => ` ${word}`);

/** Ids of prompt pieces are in [words.length, vocabularySize). */
export const vocabularySize = 32_768;

/** The text of output tokens. @throws RangeError for an id that is not a word */
export function textOf(tokenIds: readonly number[]): string {
  let joined = '';
  for (const id of tokenIds) {
    const piece = tokenTexts[id];
    if (piece === undefined) throw new RangeError(`token ${id} is not a word`);
    joined += piece;
  }
  return joined;
}
