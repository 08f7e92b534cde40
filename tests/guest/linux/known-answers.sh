#!/bin/sh
# Known answers of openssl, zstd and xz, for the instructions that they are made of: digests, ciphers and
# authentication codes against their standards, each once with the processor's instructions for them and once
# in C (OPENSSL_armcap=0), and the same again over many lengths, one against the other; compressors there and back.
# Says "known answers: ok", or what was wrong.
set -u
cd "$(mktemp -d)" || exit 1
failed=0

wrong() {
    echo "wrong: $*"
    failed=1
}

# is WHAT WANTED GIVEN
is() {
    [ "$2" = "$3" ] || wrong "$1: $3, not $2"
}

# Digests of "abc" (FIPS 180-4, FIPS 202, RFC 7693, RFC 1321) and of a million times "a".
digests="
md5 900150983cd24fb0d6963f7d28e17f72 7707d6ae4e027c70eea2a935c2296f21
sha1 a9993e364706816aba3e25717850c26c9cd0d89d 34aa973cd4c4daa4f61eeb2bdbad27316534016f
sha224 23097d223405d8228642a477bda255b32aadbce4bda0b3f7e36c9da7 20794655980c91d8bbb4c1ea97618a4bf03f42581948b2ee4ee7ad67
sha256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0
sha384 cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7 9d0e1809716474cb086e834e310a4a1ced149e9c00f248527972cec5704c2a5b07b8b3dc38ecc4ebae97ddd87f3d8985
sha512 ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f e718483d0ce769644e2e42c7bc15b4638e1f98b13b2044285632a803afa973ebde0ff244877ea60a4cb0432ce577c31beb009c5c2c49aa2e4eadb217ad8cc09b
sha3-256 3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532 5c8875ae474a3634ba4fd55ec85bffd661f32aca75c6d699d0cdcb6c115891c1
sha3-512 b751850b1a57168a5693cd924b6b096e08f621827444f70d884f5d0240d2712e10e116e9192af3c91a7ec57647e3934057340b4cf408d5a56592f8274eec53f0 3c3a876da14034ab60627c077bb98f7e120a2a5370212dffb3385a18d4f38859ed311d0a9d5141ce9cc5c66ee689b266a8aa18ace8282a0e0db596c90b0a7b87
blake2b512 ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923 98fb3efb7206fd19ebf69b6f312cf7b64e3b94dbe1a17107913975a793f177e1d077609d7fba363cbba00d05f7aa4e4fa8715d6428104c0a75643b0ff3fd3eaf
"

# Ciphers of a block of NIST SP 800-38A and of RFC 8439 (2.4.2), with IV where they take one.
key128=2b7e151628aed2a6abf7158809cf4f3c
key256=603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4
block=6bc1bee22e409f96e93d7e117393172aae2d8a571e03ac9c9eb76fac45af8e51
ciphers="
aes-128-ecb $key128 - 3ad77bb40d7a3660a89ecaf32466ef97f5d3d58503b9699de785895a96fdbaaf
aes-256-ecb $key256 - f3eed1bdb5d2a03c064b5a7e3db181f8591ccb10d410ed26dc5ba74a31362870
aes-128-cbc $key128 000102030405060708090a0b0c0d0e0f 7649abac8119b246cee98e9b12e9197d5086cb9b507219ee95db113a917678b2
aes-256-cbc $key256 000102030405060708090a0b0c0d0e0f f58c4c04d6e5f1ba779eabfb5f7bfbd69cfc4e967edb808d679f777bc6702c7d
aes-128-ctr $key128 f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff 874d6191b620e3261bef6864990db6ce9806f66b7970fdff8617187bb9fffdff
aes-256-ctr $key256 f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff 601ec313775789a5b7a7f504bbf3d228f443e3ca4d62b59aca84e990cacaf5c5
"

hex() {
    od -An -v -tx1 | tr -d ' \n'
}

answers() {
    printf '%s\n' "$digests" | while read -r name abc million; do
        [ -n "$name" ] || continue
        is "$name of abc" "$abc" "$(printf abc | openssl dgst -r "-$name" | cut -d' ' -f1)"
        is "$name of a million" "$million" "$(openssl dgst -r "-$name" million | cut -d' ' -f1)"
    done
    printf '%s\n' "$ciphers" | while read -r name key iv wanted; do
        [ -n "$name" ] || continue
        [ "$iv" = - ] && iv= || iv="-iv $iv"
        openssl enc "-$name" -K "$key" $iv -nopad -in block -out secret
        is "$name" "$wanted" "$(hex <secret)"
        openssl enc -d "-$name" -K "$key" $iv -nopad -in secret -out plain
        cmp -s block plain || wrong "$name back"
    done
    # RFC 8439: the key stream of 2.3.2, and the tag of 2.5.2; GCM's test case 13 (no text), with a 256-bit key.
    openssl enc -chacha20 -K 000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f \
        -iv 01000000000000090000004a00000000 -in zeros -out secret
    is chacha20 10f1e7e4d13b5915500fdd1fa32071c4c7d1f4c733c068030422aa9ac3d46c4e "$(head -c 32 secret | hex)"
    is poly1305 a8061dc1305136c6c22b8baf0c0127a9 "$(printf 'Cryptographic Forum Research Group' |
        openssl mac -macopt hexkey:85d6be7857556d337f4452fe42d506a80103808afb0db2fd4abff6af4149f51b Poly1305 |
        tr A-F a-f)"
    is gmac 530f8afbc74536b9a963b4f1c4cb738b "$(openssl mac -cipher AES-256-GCM \
        -macopt hexkey:0000000000000000000000000000000000000000000000000000000000000000 \
        -macopt hexiv:000000000000000000000000 -in /dev/null GMAC | tr A-F a-f)"
}

# One line a length, of everything: to compare what the instructions make with what C makes.
lengths() {
    for n in 0 1 15 16 17 31 63 64 65 111 128 129 255 256 500 1000 1024 4095 8192 30000 100001; do
        head -c $n data >part
        for name in sha1 sha256 sha512 sha3-256; do
            openssl dgst -r "-$name" part
        done
        for name in aes-128-cbc aes-192-ctr aes-256-ctr chacha20; do
            openssl enc "-$name" -K "$key256$key256" -iv 000102030405060708090a0b0c0d0e0f -in part 2>/dev/null |
                sha256sum
        done
        openssl mac -cipher AES-128-GCM -macopt "hexkey:$key128" -macopt hexiv:cafebabefacedbaddecaf888 \
            -in part GMAC
        openssl mac -macopt "hexkey:$key256" -in part Poly1305
        openssl mac -cipher AES-256-CBC -macopt "hexkey:$key256" -in part CMAC
    done
}

perl -e 'print pack "H*", $ARGV[0]' "$block" >block
head -c 1000000 /dev/zero | tr '\0' a >million
head -c 32 /dev/zero >zeros
head -c 100001 "$(command -v openssl)" >data
for cap in "" 0; do
    [ -n "$cap" ] && export OPENSSL_armcap=$cap
    answers >said
    cat said
    [ -s said ] && failed=1
    lengths >"lengths$cap"
    unset OPENSSL_armcap
done
[ -s lengths ] && cmp lengths lengths0 || wrong "the processor's instructions and C differ"

# Compressors, of a library's code, a text, and noise.
cat /usr/lib/*/libcrypto.so.3 /usr/share/common-licenses/* >big
head -c 300000 /dev/urandom >>big
for how in "zstd -1" "zstd -19" "zstd -3 --long" "xz -1 --check=crc64" "xz -6 --check=sha256" "gzip -6"; do
    tool=${how%% *}
    $how -c <big >packed || wrong "$how"
    $tool -t <packed || wrong "$how: -t"
    $tool -d -c <packed | cmp - big || wrong "$how back"
done
[ $failed = 0 ] && echo "known answers: ok"
