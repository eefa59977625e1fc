/* A library with the functions of OpenSSL's that probes are on. It does nothing but return what it is told to. */
#include <stddef.h>
#include <string.h>
#include <sys/types.h>

long told_result;
size_t told_done;
const void *told_bytes;

void SSL_set_accept_state(void *ssl) { (void)ssl; }
void SSL_set_connect_state(void *ssl) { (void)ssl; }
void SSL_free(void *ssl) { (void)ssl; }

int SSL_read(void *ssl, void *buffer, int room) {
    (void)ssl, (void)room;
    memcpy(buffer, told_bytes, told_done);
    return told_result;
}

int SSL_read_ex(void *ssl, void *buffer, size_t room, size_t *done) {
    (void)ssl, (void)room;
    memcpy(buffer, told_bytes, told_done);
    *done = told_done;
    return told_result;
}

int SSL_write(void *ssl, const void *buffer, int length) {
    (void)ssl, (void)buffer, (void)length;
    return told_result;
}

int SSL_write_ex(void *ssl, const void *buffer, size_t length, size_t *done) {
    (void)ssl, (void)buffer, (void)length;
    *done = told_done;
    return told_result;
}

ssize_t SSL_sendfile(void *ssl, int file, off_t offset, size_t size, int flags) {
    (void)ssl, (void)file, (void)offset, (void)size, (void)flags;
    return told_result;
}
