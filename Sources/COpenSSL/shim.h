#pragma once
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/opensslv.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>

// EVP_sha256 and HMAC as functions that need no types of OpenSSL's own.
static inline int sluice_hmac_sha256(const void *key, int key_bytes, const unsigned char *data, size_t data_bytes,
                                     unsigned char *out) {
    unsigned int length = 0;
    return HMAC(EVP_sha256(), key, key_bytes, data, data_bytes, out, &length) != NULL && length == 32;
}

static inline int sluice_pbkdf2_sha256(const char *password, int password_bytes, const unsigned char *salt,
                                       int salt_bytes, int iterations, unsigned char *out) {
    return PKCS5_PBKDF2_HMAC(password, password_bytes, salt, salt_bytes, iterations, EVP_sha256(), 32, out);
}
