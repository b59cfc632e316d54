// Certificates and keys in PEM, as node:tls takes them. Read once, at the start: new ones need a restart.
import { readFileSync } from 'node:fs';
import { SwitchyardError } from '../../core/errors/switchyard-error.ts';

export interface TlsFiles {
  /** Who is trusted besides, or instead of, the usual authorities. */
  readonly caFile?: string | undefined;
  readonly certFile?: string | undefined;
  readonly keyFile?: string | undefined;
}

export interface TlsMaterial {
  readonly ca?: string;
  readonly cert?: string;
  readonly key?: string;
}

/** Undefined: none was named. `what` is for the message. @throws SwitchyardError `invalid_config` */
export function readTls(what: string, { caFile, certFile, keyFile }: TlsFiles): TlsMaterial | undefined {
  if (!caFile && !certFile && !keyFile) return undefined;
  if (!certFile !== !keyFile) throw new SwitchyardError('invalid_config', `TLS of ${what}: a certificate and its key are given together`);
  return {
    ...(caFile && { ca: read(what, caFile) }),
    ...(certFile && { cert: read(what, certFile) }),
    ...(keyFile && { key: read(what, keyFile) }),
  };
}

function read(what: string, path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (cause) {
    throw new SwitchyardError('invalid_config', `TLS of ${what}: ${path} cannot be read`, { cause });
  }
}
