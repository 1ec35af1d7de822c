// SPDX-License-Identifier: Apache-2.0
/* Project Wycheproof's cases for the three ciphers, with the contexts that records are sealed and
 * opened with: some of testvectors/aes_gcm_test.json and testvectors/chacha20_poly1305_test.json of
 * github.com/C2SP/wycheproof (version 0.8r12), with nonces of 96 bits and tags of 128. Their
 * additional data is no record's, so they cannot be records. */
#include "unit.h"

#include "hex.h"
#include "record/contexts.h"

#include <errno.h>

#define TAG_BYTES RECORD_TAG_BYTES

static const struct test_case {
	enum record_cipher cipher;
	int number; /* tcId */
	bool valid;
	const char *key, *iv, *aad, *text, *sealed, *tag;
} cases[] = {
	{ RECORD_AES_128_GCM, 1, true, "5b9604fe14eadba931b0ccf34843dab9",
		"028318abc1824029138141a2", "", "001d0c231287c1182784554ca3a21908",
		"26073cc1d851beff176384dc9896d5ff", "0a3ea7a5487cb5f7d70fb6c58d038554" },
	{ RECORD_AES_128_GCM, 2, true, "5b9604fe14eadba931b0ccf34843dab9",
		"921d2507fa8007b7bd067d34", "00112233445566778899aabbccddeeff",
		"001d0c231287c1182784554ca3a21908", "49d8b9783e911913d87094d1f63cc765",
		"1e348ba07cca2cf04c618cb4d43a5b92" },
	{ RECORD_AES_128_GCM, 3, true, "aa023d0478dcb2b2312498293d9a9129",
		"0432bc49ac34412081288127", "aac39231129872a2", "2035af313d1346ab00154fea78322105",
		"eea945f3d0f98cc0fbab472a0cf24e87", "4bb9b4812519dadf9e1232016d068133" },
	{ RECORD_AES_128_GCM, 4, true, "bedcfb5a011ebc84600fcb296c15af0d",
		"438a547a94ea88dce46c6c85", "", "", "", "960247ba5cde02e41a313c4c0136edc3" },
	{ RECORD_AES_128_GCM, 5, true, "384ea416ac3c2f51a76e7d8226346d4e",
		"b30c084727ad1c592ac21d12", "", "35", "54", "7c1e4ae88bb27e5638343cb9fd3f6337" },
	{ RECORD_AES_128_GCM, 6, true, "cae31cd9f55526eb038241fc44cac1e5",
		"b5e006ded553110e6dc56529", "", "d10989f2c52e94ad", "a036ead03193903f",
		"3b626940e0e9f0cbea8e18c437fd6011" },
	{ RECORD_AES_128_GCM, 7, true, "dd6197cd63c963919cf0c273ef6b28bf",
		"ecb0c42f7000ef0e6f95f24d", "", "4dcc1485365866e25ac3f2ca6aba97",
		"8a9992388e735f80ee18f4a63c10ad", "1486a91cccf92c9a5b00f7b0e034891c" },
	{ RECORD_AES_128_GCM, 8, true, "ffdf4228361ea1f8165852136b3480f7",
		"0e1666f2dc652f7708fb8f0d", "", "25b12e28ac0ef6ead0226a3b2288c800",
		"f7bd379d130477176b8bb3cb23dbbbaa", "1ee6513ce30c7873f59dd4350a588f42" },
	{ RECORD_AES_128_GCM, 9, true, "c15ed227dd2e237ecd087eaaaad19ea4",
		"965ff6643116ac1443a2dec7", "", "fee62fde973fe025ad6b322dcdf3c63fc7",
		"0de51fe4f7f2d1f0f917569f5c6d1b009c", "6cd8521422c0177e83ef1b7a845d97db" },
	{ RECORD_AES_128_GCM, 10, true, "a8ee11b26d7ceb7f17eaa1e4b83a2cf6",
		"fbbc04fd6e025b7193eb57f6", "", "c08f085e6a9e0ef3636280c11ecfadf0c1e72919ffc17eaf",
		"7cd9f4e4f365704fff3b9900aa93ba54b672bac554275650",
		"f4eb193241226db017b32ec38ca47217" },
	{ RECORD_AES_128_GCM, 11, true, "28ff3def08179311e2734c6d1c4e2871",
		"32bcb9b569e3b852d37c766a", "c3", "dfc61a20df8505b53e3cd59f25770d5018add3d6",
		"f58d453212c2c8a436e9283672f579f119122978", "5901131d0760c8715901d881fdfd3bc0" },
	{ RECORD_AES_128_GCM, 12, true, "e63a43216c08867210e248859eb5e99c",
		"9c3a4263d983456658aad4b1", "834afdc5c737186b",
		"b14da56b0462dc05b871fc815273ff4810f92f4b",
		"bf864616c2347509ca9b10446379b9bdbb3b8f64", "a97d25b490390b53c5db91f6ee2a15b8" },
	{ RECORD_AES_128_GCM, 13, true, "38449890234eb8afab0bbf82e2385454",
		"33e90658416e7c1a7c005f11", "4020855c66ac4595058395f367201c4c",
		"f762776bf83163b323ca63a6b3adeac1e1357262",
		"a6f2ef3c7ef74a126dd2d5f6673964e27d5b34b6", "b8bbdc4f5014bc752c8b4e9b87f650a3" },
	{ RECORD_AES_128_GCM, 14, true, "6a68671dfe323d419894381f85eb63fd",
		"9f0d85b605711f34cd2a35ba", "76eb5f147250fa3c12bff0a6e3934a0b16860cf11646773b",
		"0fc67899c3f1bbe196d90f1eca3797389230aa37",
		"bd64802cfebaeb487d3a8f76ce943a37b3472dd5", "fce9a5b530c7d7af718be1ec0ae9ed4d" },
	{ RECORD_AES_128_GCM, 15, true, "e12260fcd355a51a0d01bb1f6fa538c2",
		"5dfc37366f5688275147d3f9", "",
		"d902deeab175c008329a33bfaccd5c0eb3a6a152a1510e7db04fa0aff7ce4288"
		"530db6a80fa7fea582aa7d46d7d56e708d2bb0c5edd3d26648d336c3620ea55e",
		"d33bf6722fc29384fad75f990248b9528e0959aa67ec66869dc3996c67a2d559"
		"e7d77ce5955f8cad2a4df5fdc3acccafa7bc0def53d848111256903e5add0420",
		"8bc833de510863b4b432c3cbf45aa7cc" },
	{ RECORD_AES_128_GCM, 18, true, "c4b03435b91fc52e09eff27e4dc3fb42",
		"5046e7e08f0747e1efccb09e",
		"75fc9078b488e9503dcb568c882c9eec24d80b04f0958c82aac8484f025c9043"
		"4148db8e9bfe29c7e071b797457cb1695a5e5a6317b83690ba0538fb11e325ca",
		"8e887b224e8b89c82e9a641cf579e6879e1111c7",
		"b6786812574a254eb43b1cb1d1753564c6b520e9", "ad8c09610d508f3d0f03cc523c0d5fcc" },
	{ RECORD_AES_128_GCM, 21, true, "00112233445566778899aabbccddeeff",
		"000000000000000000000000", "", "ebd4a3e10cf6d41c50aeae007563b072",
		"f62d84d649e56bc8cfedc5d74a51e2f7", "ffffffffffffffffffffffffffffffff" },
	{ RECORD_AES_128_GCM, 22, true, "00112233445566778899aabbccddeeff",
		"ffffffffffffffffffffffff", "", "d593c4d8224f1b100c35e4f6c4006543",
		"431f31e6840931fd95f94bf88296ff69", "00000000000000000000000000000000" },
	{ RECORD_AES_128_GCM, 23, false, "000102030405060708090a0b0c0d0e0f",
		"505152535455565758595a5b", "", "202122232425262728292a2b2c2d2e2f",
		"eb156d081ed6b6b55f4612f021d87b39", "d9847dbc326a06e988c77ad3863e6083" },
	{ RECORD_AES_128_GCM, 24, false, "000102030405060708090a0b0c0d0e0f",
		"505152535455565758595a5b", "", "202122232425262728292a2b2c2d2e2f",
		"eb156d081ed6b6b55f4612f021d87b39", "da847dbc326a06e988c77ad3863e6083" },
	{ RECORD_AES_128_GCM, 25, false, "000102030405060708090a0b0c0d0e0f",
		"505152535455565758595a5b", "", "202122232425262728292a2b2c2d2e2f",
		"eb156d081ed6b6b55f4612f021d87b39", "58847dbc326a06e988c77ad3863e6083" },
	{ RECORD_AES_128_GCM, 26, false, "000102030405060708090a0b0c0d0e0f",
		"505152535455565758595a5b", "", "202122232425262728292a2b2c2d2e2f",
		"eb156d081ed6b6b55f4612f021d87b39", "d8857dbc326a06e988c77ad3863e6083" },
	{ RECORD_AES_128_GCM, 27, false, "000102030405060708090a0b0c0d0e0f",
		"505152535455565758595a5b", "", "202122232425262728292a2b2c2d2e2f",
		"eb156d081ed6b6b55f4612f021d87b39", "d8847d3c326a06e988c77ad3863e6083" },
	{ RECORD_AES_128_GCM, 28, false, "000102030405060708090a0b0c0d0e0f",
		"505152535455565758595a5b", "", "202122232425262728292a2b2c2d2e2f",
		"eb156d081ed6b6b55f4612f021d87b39", "d8847dbc336a06e988c77ad3863e6083" },
	{ RECORD_AES_128_GCM, 29, false, "000102030405060708090a0b0c0d0e0f",
		"505152535455565758595a5b", "", "202122232425262728292a2b2c2d2e2f",
		"eb156d081ed6b6b55f4612f021d87b39", "d8847dbc306a06e988c77ad3863e6083" },
	{ RECORD_AES_256_GCM, 76, true,
		"cc56b680552eb75008f5484b4cb803fa5063ebd6eab91f6ab6aef4916a766273",
		"99e23ec48985bccdeeab60f1", "", "2a", "06", "633c1e9703ef744ffffb40edf9d14355" },
	{ RECORD_AES_256_GCM, 77, true,
		"51e4bf2bad92b7aff1a4bc05550ba81df4b96fabf41c12c7b00e60e48db7e152",
		"4f07afedfdc3b6c2361823d3", "", "be3308f72a2c6aed", "cf332a12fdee800b",
		"602e8d7c4799d62c140c9bb834876b09" },
	{ RECORD_AES_256_GCM, 78, true,
		"67119627bd988eda906219e08c0d0d779a07d208ce8a4fe0709af755eeec6dcb",
		"68ab7fdbf61901dad461d23c", "", "51f8c1f731ea14acdb210a6d973e07",
		"43fc101bff4b32bfadd3daf57a590e", "ec04aacb7148a8b8be44cb7eaf4efa69" },
	{ RECORD_AES_256_GCM, 79, true,
		"59d4eafb4de0cfc7d3db99a8f54b15d7b39f0acc8da69763b019c1699f87674a",
		"2fcb1b38a99e71b84740ad9b", "", "549b365af913f3b081131ccb6b825588",
		"f58c16690122d75356907fd96b570fca", "28752c20153092818faba2a334640d6e" },
	{ RECORD_AES_256_GCM, 80, true,
		"3b2458d8176e1621c0cc24c0c0e24c1e80d72f7ee9149a4b166176629616d011",
		"45aaa3e5d16d2d42dc03445d", "", "3ff1514b1c503915918f0c0c31094a6e1f",
		"73a6b6f45f6ccc5131e07f2caa1f2e2f56", "2d7379ec1db5952d4e95d30c340b1b1d" },
	{ RECORD_AES_256_GCM, 81, true,
		"0212a8de5007ed87b33f1a7090b6114f9e08cefd9607f2c276bdcfdbc5ce9cd7",
		"e6b1adf2fd58a8762c65f31b", "", "10f1ecf9c60584665d9ae5efe279e7f7377eea6916d2b111",
		"0843fff52d934fc7a071ea62c0bd351ce85678cde3ea2c9e",
		"7355fde599006715053813ce696237a8" },
	{ RECORD_AES_256_GCM, 82, true,
		"b279f57e19c8f53f2f963f5f2519fdb7c1779be2ca2b3ae8e1128b7d6c627fc4",
		"98bc2c7438d5cd7665d76f6e", "c0", "fcc515b294408c8645c9183e3f4ecee5127846d1",
		"eb5500e3825952866d911253f8de860c00831c81", "ecb660e1fb0541ec41e8d68a64141b3a" },
	{ RECORD_AES_256_GCM, 83, true,
		"cdccfe3f46d782ef47df4e72f0c02d9c7f774def970d23486f11a57f54247f17",
		"376187894605a8d45e30de51", "956846a209e087ed",
		"e28e0e9f9d22463ac0e42639b530f42102fded75",
		"feca44952447015b5df1f456df8ca4bb4eee2ce2", "082e91924deeb77880e1b1c84f9b8d30" },
	{ RECORD_AES_256_GCM, 84, true,
		"f32364b1d339d82e4f132d8f4a0ec1ff7e746517fa07ef1a7f422f4e25a48194",
		"5a86a50a0e8a179c734b996d", "ab2ac7c44c60bdf8228c7884adb20184",
		"43891bccb522b1e72a6b53cf31c074e9d6c2df8e",
		"43dda832e942e286da314daa99bef5071d9d2c78", "c3922583476ced575404ddb85dd8cd44" },
	{ RECORD_AES_256_GCM, 85, true,
		"ff0089ee870a4a39f645b0a5da774f7a5911e9696fc9cad646452c2aa8595a12",
		"bc2a7757d0ce2d8b1f14ccd9", "972ab4e06390caae8f99dd6e2187be6c7ff2c08a24be16ef",
		"748b28031621d95ee61812b4b4f47d04c6fc2ff3",
		"a929ee7e67c7a2f91bbcec6389a3caf43ab49305", "ebec6774b955e789591c822dab739e12" },
	{ RECORD_AES_256_GCM, 86, true,
		"5b1d1035c0b17ee0b0444767f80a25b8c1b741f4b50a4d3052226baa1c6fb701",
		"d61040a313ed492823cc065b", "",
		"d096803181beef9e008ff85d5ddc38ddacf0f09ee5f7e07f1e4079cb64d0dc8f"
		"5e6711cd4921a7887de76e2678fdc67618f1185586bfea9d4c685d50e4bb9a82",
		"c7d191b601f86c28b6a1bdef6a57b4f6ee3ae417bc125c381cdf1c4dac184ed1"
		"d84f1196206d62cad112b038845720e02c061179a8836f02b93fa7008379a6bf",
		"f15612f6c40f2e0db6dc76fc4822fcfe" },
	{ RECORD_AES_256_GCM, 92, true,
		"00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f",
		"000000000000000000000000", "", "561008fa07a68f5c61285cd013464eaf",
		"23293e9b07ca7d1b0cae7cc489a973b3", "ffffffffffffffffffffffffffffffff" },
	{ RECORD_AES_256_GCM, 93, true,
		"00112233445566778899aabbccddeeff102132435465768798a9bacbdcedfe0f",
		"ffffffffffffffffffffffff", "", "c6152244cea1978d3e0bc274cf8c0b3b",
		"7cb6fc7c6abc009efe9551a99f36a421", "00000000000000000000000000000000" },
	{ RECORD_AES_256_GCM, 94, false,
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		"505152535455565758595a5b", "", "202122232425262728292a2b2c2d2e2f",
		"b2061457c0759fc1749f174ee1ccadfa", "9de8fef6d8ab1bf1bf887232eab590dd" },
	{ RECORD_AES_256_GCM, 95, false,
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		"505152535455565758595a5b", "", "202122232425262728292a2b2c2d2e2f",
		"b2061457c0759fc1749f174ee1ccadfa", "9ee8fef6d8ab1bf1bf887232eab590dd" },
	{ RECORD_AES_256_GCM, 96, false,
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		"505152535455565758595a5b", "", "202122232425262728292a2b2c2d2e2f",
		"b2061457c0759fc1749f174ee1ccadfa", "1ce8fef6d8ab1bf1bf887232eab590dd" },
	{ RECORD_AES_256_GCM, 98, false,
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		"505152535455565758595a5b", "", "202122232425262728292a2b2c2d2e2f",
		"b2061457c0759fc1749f174ee1ccadfa", "9ce8fe76d8ab1bf1bf887232eab590dd" },
	{ RECORD_AES_256_GCM, 101, false,
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		"505152535455565758595a5b", "", "202122232425262728292a2b2c2d2e2f",
		"b2061457c0759fc1749f174ee1ccadfa", "9ce8fef6d8ab1b71bf887232eab590dd" },
	{ RECORD_AES_256_GCM, 104, false,
		"000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f",
		"505152535455565758595a5b", "", "202122232425262728292a2b2c2d2e2f",
		"b2061457c0759fc1749f174ee1ccadfa", "9ce8fef6d8ab1bf1bfa87232eab590dd" },
	{ RECORD_CHACHA20_POLY1305, 3, true,
		"7a4cd759172e02eb204db2c3f5c746227df584fc1345196391dbb9577a250742",
		"a92ef0ac991dd516a3c6f689", "bd506764f2d2c410", "", "",
		"906fa6284b52f87b7359cbaa7563c709" },
	{ RECORD_CHACHA20_POLY1305, 4, true,
		"cc56b680552eb75008f5484b4cb803fa5063ebd6eab91f6ab6aef4916a766273",
		"99e23ec48985bccdeeab60f1", "", "2a", "3a", "cac27dec0968801e9f6eded69d807522" },
	{ RECORD_CHACHA20_POLY1305, 5, true,
		"46f0254965f769d52bdb4a70b443199f8ef207520d1220c55e4b70f0fda620ee",
		"ab0dca716ee051d2782f4403", "91ca6c592cbcca53", "51", "c4",
		"168310ca45b1f7c66cad4e99e43f72b9" },
	{ RECORD_CHACHA20_POLY1305, 6, true,
		"2f7f7e4f592bb389194989743507bf3ee9cbde1786b6695fe6c025fd9ba4c100",
		"461af122e9f2e0347e03f2db", "", "5c60", "4d13",
		"91e8b61efb39c122195453077b22e5e2" },
	{ RECORD_CHACHA20_POLY1305, 7, true,
		"c8833dce5ea9f248aa2030eacfe72bffe69a620caf793344e5718fe0d7ab1a58",
		"61546ba5f1720590b6040ac6", "88364fc8060518bf", "ddf2", "b60d",
		"ead0fd4697ec2e5558237719d02437a2" },
	{ RECORD_CHACHA20_POLY1305, 8, true,
		"bd8ed7fb0d607522f04d0b12d42c92570bccc5ba2486953d70ba2e8193f6225a",
		"d2ab0abb50a8e9fba25429e1", "", "201221", "3cf470",
		"a27a69c9d7ee84586f11388c6884e63a" },
	{ RECORD_CHACHA20_POLY1305, 9, true,
		"1c8b59b17a5ceced31bde97d4cefd9aaaa63362e096e863ec1c89580bca79b7a",
		"94f32a6dff588f2b5a2ead45", "6c8cf2ab3820b695", "453f95", "610925",
		"a8a7883eb7e40bc40e2e5922ae95ddc3" },
	{ RECORD_CHACHA20_POLY1305, 18, true,
		"51e4bf2bad92b7aff1a4bc05550ba81df4b96fabf41c12c7b00e60e48db7e152",
		"4f07afedfdc3b6c2361823d3", "", "be3308f72a2c6aed", "8e9439a56eeec817",
		"fbe8a6ed8fabb1937539dd6c00e90021" },
	{ RECORD_CHACHA20_POLY1305, 19, true,
		"1131c1418577a054de7a4ac551950f1a053f9ae46e5b75fe4abd5608d7cddadd",
		"b4ea666ee119563366484a78", "66c0ae70076cb14d", "a4c9c2801b71f7df",
		"b9b910433af052b0", "4530f51aeee024e0a445a6328fa67a18" },
	{ RECORD_CHACHA20_POLY1305, 32, true,
		"67119627bd988eda906219e08c0d0d779a07d208ce8a4fe0709af755eeec6dcb",
		"68ab7fdbf61901dad461d23c", "", "51f8c1f731ea14acdb210a6d973e07",
		"0b29638e1fbdd6df53970be2210042", "2a9134087d67a46e79178d0a93f5e1d2" },
	{ RECORD_CHACHA20_POLY1305, 33, true,
		"e6f1118d41e4b43fb58221b7ed79673834e0d8ac5c4fa60bbc8bc4893a58894d",
		"d95b3243afaef714c5035b6a", "6453a53384632212", "97469da667d6110f9cbda1d1a20673",
		"32db66c4a3819d81557455e5980fed", "feae30dec94e6ad3a9eea06a0d703917" },
	{ RECORD_CHACHA20_POLY1305, 34, true,
		"59d4eafb4de0cfc7d3db99a8f54b15d7b39f0acc8da69763b019c1699f87674a",
		"2fcb1b38a99e71b84740ad9b", "", "549b365af913f3b081131ccb6b825588",
		"e9110e9f56ab3ca483500ceabab67a13", "836ccabf15a6a22a51c1071cfa68fa0c" },
	{ RECORD_CHACHA20_POLY1305, 35, true,
		"b907a45075513fe8a8019edee3f2591487b2a030b03c6e1d771c862571d2ea1e",
		"118a6964c2d3e380071f5266", "034585621af8d7ff", "55a465644f5b650928cbee7c063214d6",
		"e4b113cb775945f3d3a8ae9ec141c00c", "7c43f16ce096d0dc27c95849dc383b7d" },
	{ RECORD_CHACHA20_POLY1305, 36, true,
		"3b2458d8176e1621c0cc24c0c0e24c1e80d72f7ee9149a4b166176629616d011",
		"45aaa3e5d16d2d42dc03445d", "", "3ff1514b1c503915918f0c0c31094a6e1f",
		"02cc3acb5ee1fcdd12a03bb857976474d3", "d83b7463a2c3800fe958c28eaa290813" },
	{ RECORD_CHACHA20_POLY1305, 37, true,
		"f60c6a1b625725f76c7037b48fe3577fa7f7b87b1bd5a982176d182306ffb870",
		"f0384fb876121410633d993d", "9aaf299eeea78f79",
		"63858ca3e2ce69887b578a3c167b421c9c", "35766488d2bc7c2b8d17cbbb9abfad9e6d",
		"1f391e657b2738dda08448cba2811ceb" },
	{ RECORD_CHACHA20_POLY1305, 38, true,
		"37ceb574ccb0b701dd11369388ca27101732339f49d8d908ace4b23af0b7ce89",
		"37270b368f6b1e3e2ca51744", "", "f26991537257378151f4776aad28ae8bd16b",
		"b621d76a8dacff00b3f840cdf26c894cc5d1", "e0a21716ed94c0382fa9b0903d15bb68" },
	{ RECORD_CHACHA20_POLY1305, 39, true,
		"68888361919bc10622f45df168e5f6a03bd8e884c0611bea2f34c1882ed9832b",
		"bfd6ff40f2df8ca7845980cc", "b8373438ddb2d6c3",
		"ff97f2eefb3401ac31fc8dc1590d1a92cbc1", "e0a745186c1a7b147f74faff2a715df5c19d",
		"917baf703e355d4d950e6c05fe8f349f" },
};

struct bytes {
	unsigned char data[256];
	int len;
};

static struct bytes bytes_of(const char *text)
{
	struct bytes bytes;

	bytes.len = (int)unhex(text, bytes.data);
	return bytes;
}

static struct record_state state_of(const struct test_case *c, enum record_direction direction)
{
	struct record_state state = { .version = RECORD_TLS_1_3,
		.cipher = (uint8_t)c->cipher,
		.direction = (uint8_t)direction };
	struct bytes key = bytes_of(c->key);

	assert_in_range(key.len, 16, sizeof(state.key));
	memcpy(state.key, key.data, (size_t)key.len);
	return state;
}

/* As record_open() does it (REC-12). Returns whether the tag is right. */
static bool opens(const struct test_case *c, struct record_state *state, unsigned char *tag)
{
	struct bytes iv = bytes_of(c->iv), aad = bytes_of(c->aad), sealed = bytes_of(c->sealed),
		     text = bytes_of(c->text);
	struct record_aead *aead = record_context(state);
	unsigned char got[256];
	int r;

	assert_non_null(aead);
	assert_int_equal(record_aead_begin(aead, iv.data, tag), 0);
	assert_int_equal(record_aead_add(aead, aad.data, (size_t)aad.len), 0);
	assert_int_equal(record_aead_update(aead, got, sealed.data, (size_t)sealed.len), 0);
	r = record_aead_open(aead);
	if (r == 0)
		assert_memory_equal(got, text.data, (size_t)text.len);
	else
		assert_int_equal(r, -EBADMSG);
	return r == 0;
}

/* A valid one is no more when any bit of its tag is another. */
static void test_opening(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct record_state read = state_of(&cases[i], RECORD_READ);
		struct bytes tag = bytes_of(cases[i].tag);

		assert_int_equal(tag.len, TAG_BYTES);
		if (opens(&cases[i], &read, tag.data) != cases[i].valid)
			fail_msg("case %d of %s", cases[i].number,
				record_cipher_name(cases[i].cipher));
		for (int bit = 0; cases[i].valid && bit < 8 * TAG_BYTES; bit++) {
			tag.data[bit / 8] ^= (unsigned char)(1 << bit % 8);
			assert_false(opens(&cases[i], &read, tag.data));
			tag.data[bit / 8] ^= (unsigned char)(1 << bit % 8);
		}
		assert_int_equal(opens(&cases[i], &read, tag.data), cases[i].valid);
		record_state_wipe(&read);
	}
}

static void test_sealing(void **state)
{
	(void)state;
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct record_state write = state_of(&cases[i], RECORD_WRITE);
		struct bytes iv = bytes_of(cases[i].iv), aad = bytes_of(cases[i].aad),
			     text = bytes_of(cases[i].text), sealed = bytes_of(cases[i].sealed),
			     tag = bytes_of(cases[i].tag);
		struct record_aead *aead = record_context(&write);
		unsigned char got[256], got_tag[TAG_BYTES];

		assert_non_null(aead);
		assert_int_equal(record_aead_begin(aead, iv.data, NULL), 0);
		assert_int_equal(record_aead_add(aead, aad.data, (size_t)aad.len), 0);
		assert_int_equal(record_aead_update(aead, got, text.data, (size_t)text.len), 0);
		assert_int_equal(record_aead_seal(aead, got_tag), 0);
		assert_memory_equal(got, sealed.data, (size_t)sealed.len);
		if (cases[i].valid)
			assert_memory_equal(got_tag, tag.data, TAG_BYTES);
		else
			assert_memory_not_equal(got_tag, tag.data, TAG_BYTES);
		record_state_wipe(&write);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_opening),
		cmocka_unit_test(test_sealing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
