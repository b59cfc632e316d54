// What a client sees when a handler threw: the same on the real server and on its twin. The cause is in the log only.
export const failureBody = JSON.stringify({
  error: { message: 'The server failed to handle the request.', type: 'server_error', param: null, code: 'internal' },
});
