// The settings by which an HTTP server of ours is over TLS: the same for the gateway and the console.
import { z } from 'zod';
import type { HttpTls } from '../ports/http.ts';

export const httpTlsSettings = {
  tlsCertFile: z.string().default('').describe('certificate in PEM; with it the port is HTTPS'),
  tlsKeyFile: z.string().default('').describe('its key'),
  tlsClientCaFile: z.string().default('').describe('with it clients need a certificate of these authorities'),
};

interface HttpTlsConfig {
  readonly tlsCertFile: string;
  readonly tlsKeyFile: string;
  readonly tlsClientCaFile: string;
}

/** Undefined: plain HTTP. */
export function httpTls({ tlsCertFile, tlsKeyFile, tlsClientCaFile }: HttpTlsConfig): HttpTls | undefined {
  if (tlsCertFile === '' && tlsKeyFile === '') return undefined;
  return { certFile: tlsCertFile, keyFile: tlsKeyFile, caFile: tlsClientCaFile || undefined };
}
