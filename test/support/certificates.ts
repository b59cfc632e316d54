// A certificate authority and a certificate of it for this machine, made on the spot, for tests of TLS: X.509 in DER.
import { createHash, generateKeyPairSync, type KeyObject, randomBytes, sign } from 'node:crypto';

export interface TestCertificates {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

type Bytes = Uint8Array;

/** Every value is a tag, a length and the contents. */
function der(tag: number, ...parts: Bytes[]): Buffer {
  const body = Buffer.concat(parts);
  const length = body.length < 128 ? [body.length] : body.length < 256 ? [0x81, body.length] : [0x82, body.length >> 8, body.length & 0xff];
  return Buffer.concat([Buffer.from([tag, ...length]), body]);
}

const sequence = (...parts: Bytes[]) => der(0x30, ...parts);
const set = (...parts: Bytes[]) => der(0x31, ...parts);
const integer = (bytes: Bytes) => der(0x02, bytes);
const text = (value: string) => der(0x0c, Buffer.from(value));
const octets = (value: Bytes) => der(0x04, value);
const bits = (value: Bytes) => der(0x03, Buffer.from([0]), value);
const yes = der(0x01, Buffer.from([0xff]));
const context = (tag: number, ...parts: Bytes[]) => der(0xa0 + tag, ...parts);

function oid(dotted: string): Buffer {
  const [first = 0, second = 0, ...rest] = dotted.split('.').map(Number);
  const bytes = rest.flatMap((value) => {
    const groups = [value & 0x7f];
    for (let left = value >> 7; left > 0; left >>= 7) groups.unshift((left & 0x7f) | 0x80);
    return groups;
  });
  return der(0x06, Buffer.from([first * 40 + second, ...bytes]));
}

const ecdsaWithSha256 = sequence(oid('1.2.840.10045.4.3.2'));
const name = (commonName: string) => sequence(set(sequence(oid('2.5.4.3'), text(commonName))));
const time = (at: Date) => der(0x18, Buffer.from(`${at.toISOString().replace(/[-:T]/g, '').slice(0, 14)}Z`));
const extension = (id: string, critical: boolean, value: Bytes) => sequence(oid(id), ...(critical ? [yes] : []), octets(value));

function pem(what: string, bytes: Bytes): string {
  const lines =
    Buffer.from(bytes)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${what}-----\n${lines.join('\n')}\n-----END ${what}-----\n`;
}

interface Wanted {
  readonly subject: string;
  readonly issuer: string;
  readonly publicKey: KeyObject;
  readonly signer: KeyObject;
  readonly extensions: readonly Bytes[];
}

function certificate({ subject, issuer, publicKey, signer, extensions }: Wanted): string {
  const dayMs = 86_400_000;
  const validity = sequence(time(new Date(Date.now() - dayMs)), time(new Date(Date.now() + 30 * dayMs)));
  const version3 = context(0, integer(Buffer.from([2])));
  const serial = integer(Buffer.concat([Buffer.from([1]), randomBytes(15)]));
  const spki = publicKey.export({ type: 'spki', format: 'der' });
  const body = sequence(version3, serial, ecdsaWithSha256, name(issuer), validity, name(subject), spki, context(3, sequence(...extensions)));
  return pem('CERTIFICATE', sequence(body, ecdsaWithSha256, bits(sign('sha256', body, signer))));
}

/** For 127.0.0.1 and localhost, as a server and as a client. */
export function testCertificates(): TestCertificates {
  const authority = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const own = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  const keyId = (key: KeyObject) =>
    createHash('sha1')
      .update(key.export({ type: 'spki', format: 'der' }))
      .digest();
  const issuer = 'Switchyard test authority';
  const ca = certificate({
    subject: issuer,
    issuer,
    publicKey: authority.publicKey,
    signer: authority.privateKey,
    extensions: [extension('2.5.29.19', true, sequence(yes)), extension('2.5.29.14', false, octets(keyId(authority.publicKey)))],
  });
  const alternativeNames = sequence(der(0x82, Buffer.from('localhost')), der(0x87, Buffer.from([127, 0, 0, 1])));
  const usages = sequence(oid('1.3.6.1.5.5.7.3.1'), oid('1.3.6.1.5.5.7.3.2'));
  const cert = certificate({
    subject: 'localhost',
    issuer,
    publicKey: own.publicKey,
    signer: authority.privateKey,
    extensions: [extension('2.5.29.17', false, alternativeNames), extension('2.5.29.37', false, usages)],
  });
  return { ca, cert, key: own.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() };
}
